"""Who may connect, how much a connection may ask for, and for how long: the network's part of the broker's settings."""

from __future__ import annotations

import attrs

from minibroker.config.setting import MAX_INT, MAX_LONG, integer, long, names

DEFAULT_LISTENER = "PLAINTEXT://127.0.0.1:9092"


@attrs.frozen(kw_only=True, init=False, repr=False, eq=False, slots=False)
class NetworkSettings:
    """Listeners and the limits of connections, requests and memory in flight."""

    node_id: int = integer(0, "The number by which clients know this broker.", at_least=0)
    listeners: tuple[str, ...] = names(
        (DEFAULT_LISTENER,),
        "The addresses to listen on, as NAME://HOST:PORT or HOST:PORT. An empty host means every interface, "
        "port 0 any free port.",
        kafka_default=("PLAINTEXT://:9092",),
    )
    advertised_listeners: tuple[str, ...] | None = names(
        None,
        "The addresses that clients are told to connect to, one for each listener. Needed when they reach the broker "
        "by another address than the one it listens on: through a container's port, a proxy, another host's name.",
    )
    socket_request_max_bytes: int = integer(
        104857600, "The largest request that is read; a connection that announces a larger one is closed.", at_least=1
    )
    socket_listen_backlog_size: int = integer(
        1024,
        "How many connections may wait to be accepted. Larger than Kafka's, because the kernel caps it anyway and "
        "a thousand clients may start at once.",
        at_least=1,
        kafka_default=50,
    )
    queued_max_requests: int = integer(
        500,
        "How many requests of one connection may be in work at a time; the next is read when one is answered.",
        at_least=1,
    )
    queued_max_request_bytes: int = long(
        134217728,
        "How many bytes of requests may be in memory at a time, over all connections; reading pauses beyond it. "
        "-1 sets no limit, as is Kafka's default.",
        at_least=1,
        also=-1,
        kafka_default=-1,
    )
    fetch_max_bytes: int = integer(
        57671680,
        "The most bytes of records that one fetch is answered with, whatever it asks for; one batch is always sent.",
        at_least=1024,
    )
    max_request_partition_size_limit: int = integer(
        2000, "The most partitions that one answer to DescribeTopicPartitions lists.", at_least=1
    )
    max_connections: int = integer(
        MAX_INT,
        "How many connections may be open. Those beyond it wait to be accepted until another closes.",
        at_least=1,
        dynamic=True,
    )
    max_connections_per_ip: int = integer(
        MAX_INT,
        "How many connections one address may have open. Those beyond it are closed at once.",
        at_least=1,
        dynamic=True,
    )
    connections_max_idle_ms: int = long(600000, "A connection without a request for this long is closed.", at_least=-1)
    minibroker_read_timeout_ms: int = long(
        30000,
        "A request that has begun to arrive must be complete within this time, or its connection is closed.",
        at_least=1,
    )
    minibroker_write_timeout_ms: int = long(
        30000,
        "A client that has the broker wait with its answers, and takes less than 4 KiB a second of them over this long, "
        "is cut off.",
        at_least=1,
    )
    minibroker_shutdown_timeout_ms: int = long(
        700,
        "How long an orderly end waits for requests in work before it cuts their connections.",
        at_least=0,
        at_most=MAX_LONG,
    )
