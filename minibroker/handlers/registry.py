"""The APIs that this broker serves: the one list that ApiVersions, dispatch and docs/protocol-support.md come from.

A handler module is imported when its API is first asked for, since building the message classes of all of them would
cost more than the rest of the start-up.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import attrs

from minibroker.handlers.context import Reply, RequestContext
from minibroker.protocol.api import ApiKey


@attrs.define(eq=False)
class Api:
    """One served API: its versions, and its handler once imported."""

    key: ApiKey
    min_version: int
    """The least version that is answered."""
    max_version: int
    advertised_min_version: int = attrs.field(default=attrs.Factory(lambda self: self.min_version, takes_self=True))
    """The least version that ApiVersions tells of; lower than `min_version` only for Produce."""
    in_order: bool = False
    """Whether no later request of a connection may be started before the answer, if that has to be waited for."""
    _handle: Callable[[Any, RequestContext], Reply] | None = None

    @property
    def module(self) -> str:
        """The name of the handler's module."""
        return f"minibroker.handlers.{self.key.name.lower()}"

    def handle(self, request: Any, context: RequestContext) -> Reply:
        """Answer `request`."""
        if self._handle is None:
            self._handle = importlib.import_module(self.module).handle
        return self._handle(request, context)


APIS = (
    # Librdkafka before 2.9 and others take a Produce minimum above 0 for a broker that cannot compress (KAFKA-18659).
    Api(ApiKey.PRODUCE, 3, 11, advertised_min_version=0, in_order=True),
    Api(ApiKey.FETCH, 4, 17),
    Api(ApiKey.LIST_OFFSETS, 1, 10),
    Api(ApiKey.METADATA, 0, 13),
    Api(ApiKey.OFFSET_COMMIT, 2, 9, in_order=True),
    Api(ApiKey.OFFSET_FETCH, 1, 9),
    Api(ApiKey.FIND_COORDINATOR, 0, 6),
    Api(ApiKey.JOIN_GROUP, 0, 9),
    Api(ApiKey.HEARTBEAT, 0, 4),
    Api(ApiKey.LEAVE_GROUP, 0, 5),
    Api(ApiKey.SYNC_GROUP, 0, 5),
    Api(ApiKey.DESCRIBE_GROUPS, 0, 6),
    Api(ApiKey.LIST_GROUPS, 0, 5),
    Api(ApiKey.API_VERSIONS, 0, 4),
    Api(ApiKey.CREATE_TOPICS, 2, 7, in_order=True),
    Api(ApiKey.DELETE_TOPICS, 1, 6, in_order=True),
    Api(ApiKey.DELETE_RECORDS, 0, 2, in_order=True),
    Api(ApiKey.INIT_PRODUCER_ID, 0, 5),
    Api(ApiKey.OFFSET_FOR_LEADER_EPOCH, 2, 4),
    Api(ApiKey.DESCRIBE_CONFIGS, 1, 4),
    Api(ApiKey.ALTER_CONFIGS, 0, 2, in_order=True),
    Api(ApiKey.DESCRIBE_LOG_DIRS, 1, 4),
    Api(ApiKey.CREATE_PARTITIONS, 0, 3, in_order=True),
    Api(ApiKey.DELETE_GROUPS, 0, 2, in_order=True),
    Api(ApiKey.INCREMENTAL_ALTER_CONFIGS, 0, 1, in_order=True),
    Api(ApiKey.OFFSET_DELETE, 0, 0, in_order=True),
    Api(ApiKey.DESCRIBE_CLUSTER, 0, 2),
    Api(ApiKey.DESCRIBE_TOPIC_PARTITIONS, 0, 0),
)

BY_KEY = {int(api.key): api for api in APIS}
