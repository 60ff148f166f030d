"""The admin client: topics, settings, records, groups, and the cluster as a whole.

async with Admin("127.0.0.1:9092") as admin:
    await admin.create_topic("orders", 6, configs={"retention.ms": "86400000"})
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

import attrs

from minibroker.client.address import parse_addresses
from minibroker.client.admin_configs import ConfigAdmin
from minibroker.client.admin_groups import GroupAdmin
from minibroker.client.admin_topics import TopicAdmin
from minibroker.client.cluster import Cluster
from minibroker.client.settings import ClusterSettings
from minibroker.client.transport import Connect, connect_tcp


@attrs.define(eq=False, kw_only=True)
class Admin(TopicAdmin, ConfigAdmin, GroupAdmin):
    """Administers a cluster. Use it in `async with`.

    Every method retries what may be retried, up to `api_timeout_ms`, and raises a KafkaError that says what is wrong.
    """

    bootstrap: str | Iterable[str] = attrs.field(kw_only=False)
    """`HOST:PORT` of one or more brokers."""
    request_timeout_ms: float = 30_000
    api_timeout_ms: float = 60_000
    client_id: str = "minibroker-admin"
    connect: Connect = connect_tcp
    """How connections are made; for tests."""

    def __attrs_post_init__(self) -> None:
        settings = ClusterSettings(
            bootstrap=tuple(parse_addresses(self.bootstrap)),
            client_id=self.client_id,
            request_timeout_ms=self.request_timeout_ms,
            api_timeout_ms=self.api_timeout_ms,
            allow_auto_create_topics=False,
            connect=self.connect,
        )
        self._cluster = Cluster(settings)

    async def __aenter__(self) -> Admin:
        await self._cluster.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cluster.__aexit__(kind, error, trace)
