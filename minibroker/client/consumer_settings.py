"""The settings of a consumer, which its parts share. Names and meanings are Kafka's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import attrs

from minibroker.client.metadata import TopicPartition
from minibroker.client.offsets import Isolation
from minibroker.client.partition_state import Seek, Start
from minibroker.client.settings import ClusterSettings

Callback = Callable[[frozenset[TopicPartition]], Awaitable[None]]
"""An async function that is told of partitions. It runs while the application waits for records."""


def as_seek(start: str | Start | Seek) -> Seek:
    """A place to begin, as a user may give it. Raises ValueError."""
    return start if isinstance(start, Seek) else Seek(Start(start))


def _isolation(level: str | Isolation) -> Isolation:
    return level if isinstance(level, Isolation) else Isolation[level.upper()]


@attrs.define(eq=False, kw_only=True, on_setattr=attrs.setters.NO_OP)
class ConsumerSettings(ClusterSettings):
    """What to read, how, and how to share it."""

    topics: Iterable[str] = ()
    pattern: str | None = None
    """A regular expression that must match the whole name of a topic."""
    partitions: Iterable[TopicPartition] = ()
    group: str | None = None
    auto_offset_reset: Start = attrs.field(default=Start.LATEST, converter=Start)
    """`earliest`, `latest` or `error`: what to do when the position does not exist (any more)."""
    start: Seek = attrs.field(
        default=attrs.Factory(lambda self: Seek(self.auto_offset_reset), takes_self=True), converter=as_seek
    )
    """Where to begin; in a group only where it has committed nothing. By default as `auto_offset_reset` says."""
    isolation_level: Isolation = attrs.field(default=Isolation.READ_UNCOMMITTED, converter=_isolation)

    group_instance_id: str | None = None
    """Makes it a static member: a restart within the session timeout causes no rebalance (KIP-345)."""
    assignors: Iterable[str] = ("range", "cooperative-sticky", "roundrobin")
    """In order of preference. With `cooperative-sticky` alone, rebalances are incremental (KIP-429)."""
    auto_commit: bool = True
    auto_commit_interval_ms: float = 5_000
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 3_000
    max_poll_interval_ms: int = 300_000
    on_assigned: Callback | None = None
    on_revoked: Callback | None = None
    on_lost: Callback | None = None

    fetch_min_bytes: int = 1
    fetch_max_wait_ms: int = 500
    fetch_max_bytes: int = 52_428_800
    max_partition_fetch_bytes: int = 1_048_576
    buffer_bytes: int = 67_108_864
    """How much may be fetched ahead, roughly."""
    client_id: str = "minibroker-consumer"
