"""Settings that producer, consumer and admin share. Names are Kafka's, in snake case."""

from __future__ import annotations

import attrs

from minibroker.client.address import Address, parse_addresses
from minibroker.client.backoff import Backoff
from minibroker.client.transport import Connect, connect_tcp


@attrs.define(eq=False, kw_only=True, on_setattr=attrs.setters.NO_OP)
class ClusterSettings:
    """How to reach a cluster."""

    bootstrap: tuple[Address, ...] = attrs.field(kw_only=False, converter=parse_addresses)
    """`HOST:PORT` of one or more brokers."""
    client_id: str = "minibroker"
    request_timeout_ms: float = 30_000
    """How long one request may take before its connection is given up."""
    connect_timeout_ms: float = 10_000
    """How long a connection may take to be made (`socket.connection.setup.timeout.ms`)."""
    api_timeout_ms: float = 60_000
    """How long a call may retry before it gives up (`default.api.timeout.ms`)."""
    retry_backoff_ms: float = 100
    retry_backoff: Backoff = attrs.field(
        default=attrs.Factory(
            lambda self: Backoff(initial_ms=self.retry_backoff_ms, maximum_ms=max(1000, self.retry_backoff_ms)),
            takes_self=True,
        )
    )
    reconnect_backoff: Backoff = attrs.Factory(lambda: Backoff(initial_ms=50))
    metadata_max_age_ms: float = 300_000
    """Metadata is asked for again after this time, even if nothing hints at a change."""
    allow_auto_create_topics: bool = True
    """Whether asking for a topic may create it, if the broker allows that too."""
    connect: Connect = connect_tcp
    """How connections are made; for tests."""

    @property
    def request_timeout_s(self) -> float:
        """The same in seconds."""
        return self.request_timeout_ms / 1000
