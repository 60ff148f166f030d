"""Settings that producer, consumer and admin share. Names are Kafka's, in snake case."""

from __future__ import annotations

import attrs

from minibroker.client.address import Address
from minibroker.client.backoff import Backoff
from minibroker.client.transport import Connect, connect_tcp


@attrs.frozen(kw_only=True)
class ClusterSettings:
    """How to reach a cluster."""

    bootstrap: tuple[Address, ...]
    client_id: str = "minibroker"
    request_timeout_ms: float = 30_000
    """How long one request may take before its connection is given up."""
    connect_timeout_ms: float = 10_000
    """How long a connection may take to be made (`socket.connection.setup.timeout.ms`)."""
    api_timeout_ms: float = 60_000
    """How long a call may retry before it gives up (`default.api.timeout.ms`)."""
    retry_backoff: Backoff = attrs.Factory(Backoff)
    reconnect_backoff: Backoff = attrs.Factory(lambda: Backoff(initial_ms=50))
    metadata_max_age_ms: float = 300_000
    """Metadata is asked for again after this time, even if nothing hints at a change."""
    allow_auto_create_topics: bool = True
    """Whether asking for a topic may create it, if the broker allows that too."""
    connect: Connect = connect_tcp
