"""CreateTopics (19): creates topics.

- v4 takes -1 for the broker's own number of partitions and replicas (KIP-464).
- v5 is flexible and answers the topic's settings (KIP-525).
- v6 may answer THROTTLING_QUOTA_EXCEEDED (KIP-599). v7 answers the topic id (KIP-516).
"""

from __future__ import annotations

from uuid import UUID

import attrs

from minibroker.protocol.schema import Request, Response, array, boolean, int8, int16, int32, string, uuid


@attrs.define(kw_only=True)
class CreatableReplicaAssignment:
    """The brokers that shall hold one partition."""

    partition_index: int = int32()
    broker_ids: list[int] = array(int32)


@attrs.define(kw_only=True)
class CreatableTopicConfig:
    """A setting of the new topic."""

    name: str = string()
    value: str | None = string(nullable="0+")


@attrs.define(kw_only=True)
class CreatableTopic:
    """A topic to create. With ``assignments`` the two numbers must be -1."""

    name: str = string()
    num_partitions: int = int32()
    replication_factor: int = int16()
    assignments: list[CreatableReplicaAssignment] = array(CreatableReplicaAssignment)
    configs: list[CreatableTopicConfig] = array(CreatableTopicConfig)


@attrs.define(kw_only=True)
class CreateTopicsRequest(Request["CreateTopicsResponse"]):
    """Asks for topics, or only whether they could be created."""

    topics: list[CreatableTopic] = array(CreatableTopic)
    timeout_ms: int = int32(default=60000)
    validate_only: bool = boolean()


@attrs.define(kw_only=True)
class CreatableTopicConfigs:
    """A setting as the new topic has it."""

    name: str = string()
    value: str | None = string(nullable="0+")
    read_only: bool = boolean()
    config_source: int = int8(default=-1)
    is_sensitive: bool = boolean()


@attrs.define(kw_only=True)
class CreatableTopicResult:
    """What became of one topic; ``topic_config_error_code`` says why its settings are not shown."""

    name: str = string()
    topic_id: UUID = uuid("7+", ignorable=True)
    error_code: int = int16()
    error_message: str | None = string(nullable="0+", default=None)
    topic_config_error_code: int = int16("5+", tag=0, ignorable=True)
    num_partitions: int = int32("5+", ignorable=True, default=-1)
    replication_factor: int = int16("5+", ignorable=True, default=-1)
    configs: list[CreatableTopicConfigs] | None = array(CreatableTopicConfigs, "5+", nullable="5+", ignorable=True)


@attrs.define(kw_only=True)
class CreateTopicsResponse(Response):
    """Tells for each topic whether it was created."""

    throttle_time_ms: int = int32()
    topics: list[CreatableTopicResult] = array(CreatableTopicResult)
