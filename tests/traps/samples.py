"""Sample requests of every API and version, made from the names of their fields: plausible, about nothing, or empty."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any
from uuid import UUID

from minibroker.handlers.registry import APIS
from minibroker.protocol.api import ApiKey, request_class
from minibroker.protocol.layout import Member, members
from minibroker.protocol.schema import ArrayKind, StructKind
from minibroker.records.builder import build_batch

CASES = [(api.key, version) for api in APIS for version in range(api.advertised_min_version, api.max_version + 1)]
"""Every API in every version that is told to clients."""

BY_CLASS_AND_FIELD: dict[str, Any] = {
    "CreatableTopic.num_partitions": 1,
    "CreatableTopic.replication_factor": 1,
    "CreatableTopic.assignments": [],
    "CreatePartitionsTopic.count": 2,
    "CreatePartitionsTopic.assignments": None,
    "CreatableTopicConfig.name": "retention.ms",
    "AlterableConfig.name": "retention.ms",
    "JoinGroupRequestProtocol.name": "range",
    "DescribeConfigsResource.configuration_keys": None,
    "FindCoordinatorRequest.key_type": 0,
    "ApiVersionsRequest.client_software_name": "raw",
    "ApiVersionsRequest.client_software_version": "1.0",
    "InitProducerIdRequest.transactional_id": None,
    "ProduceRequest.transactional_id": None,
    "DescribeTopicPartitionsRequest.cursor": None,
    "JoinGroupRequest.member_id": "",
    "OffsetCommitRequest.member_id": "",
    "OffsetCommitRequest.generation_id_or_member_epoch": -1,
    "DeleteTopicsRequest.topic_names": [],
    "DeleteTopicState.name": None,
}
BY_FIELD: dict[str, Any] = {
    "acks": -1,
    "value": "86400000",
    "resource_type": 2,
    "session_timeout_ms": 10000,
    "rebalance_timeout_ms": 10000,
    "protocol_type": "consumer",
    "max_bytes": 1 << 20,
    "partition_max_bytes": 1 << 20,
    "min_bytes": 1,
    "response_partition_limit": 10,
    "producer_id": -1,
    "producer_epoch": -1,
    "current_leader_epoch": -1,
    "last_fetched_epoch": -1,
    "session_epoch": -1,
    "timestamp": -1,
    "group_instance_id": None,
    "replica_directory_id": UUID(int=0),
    "allow_auto_topic_creation": True,
    "forgotten_topics_data": [],
    "states_filter": [],
    "types_filter": [],
}
FRESH = count()


class Samples:
    """Requests about one topic, given by name and id."""

    def __init__(self, topic: str, topic_id: UUID) -> None:
        self.topic = topic
        self.topic_id = topic_id

    def of(self, key: ApiKey, version: int) -> Iterator[Any]:
        """A plausible request and an empty one."""
        cls = request_class(key)
        if key is ApiKey.CREATE_TOPICS:
            yield self.request(cls, version, topic=f"fresh-{next(FRESH)}")
        yield self.request(cls, version)
        if key is not ApiKey.API_VERSIONS:  # an empty software name is an error there
            yield cls()

    def request(self, cls: type[Any], version: int, *, topic: str | None = None) -> Any:
        """A request with one element in every array, about a topic."""
        plain, tagged, _ = members(cls, version)
        names = Samples(topic or self.topic, self.topic_id)
        return cls(**{member.name: names._value(cls, member, version) for member in plain + tagged})

    def _value(self, cls: type[Any], member: Member, version: int) -> Any:
        kind, name = member.kind, member.name
        special = f"{cls.__name__}.{name}"
        if special in BY_CLASS_AND_FIELD:
            return BY_CLASS_AND_FIELD[special]
        if name in BY_FIELD:
            return BY_FIELD[name]
        if isinstance(kind, ArrayKind):
            if isinstance(kind.element, StructKind):
                return [self.request(kind.element.cls, version)]
            return [self._primitive(kind.element.name, name)]
        if isinstance(kind, StructKind):
            return self.request(kind.cls, version)
        return self._primitive(kind.name, name)

    def _primitive(self, kind: str, name: str) -> Any:
        if kind == "string":
            return f"group-{next(FRESH)}" if "group" in name else self.topic
        if kind == "uuid":
            return self.topic_id
        if kind == "records":
            return bytes(build_batch([(0, b"key", b"value", ())]))
        if kind == "bytes":
            return b"opaque"
        return 0
