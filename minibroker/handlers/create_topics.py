"""CreateTopics (19), versions 2-7: makes topics.

- -1 partitions or replicas are the broker's defaults (KIP-464). More than one replica is INVALID_REPLICATION_FACTOR: there
  is one broker. Partitions placed by hand must be placed there, and numbered from 0 on.
- A name that is given twice in one request is refused once, and none of its topics is made.
- `validate_only` says what would become of it. v5 answers with what the topic has got, settings included (KIP-525), v7
  with its id (KIP-516).
- A name of a topic that is being deleted is taken until that is durable; whoever wants it waits for it.
- The broker's own topics are refused: it makes them itself when they are needed, as they have to be. Kafka lets a
  client make `__consumer_offsets`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Mapping, Sequence
from functools import partial
from typing import Any

from minibroker.config.describe import describe_topic
from minibroker.handlers.context import AfterFlush, Reply, RequestContext, Services
from minibroker.handlers.creation import answer_each, check_replicas
from minibroker.handlers.turns import answer_in_turns
from minibroker.protocol.errors import (
    InvalidConfig,
    InvalidPartitions,
    InvalidReplicaAssignment,
    InvalidReplicationFactor,
    InvalidRequest,
)
from minibroker.protocol.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from minibroker.storage.timestamps import Step
from minibroker.topics.catalog import Catalog
from minibroker.topics.names import INTERNAL_TOPICS

DEFAULT = -1


def handle(request: CreateTopicsRequest, context: RequestContext) -> Reply:
    """Make every topic, or say whether it could be made."""
    wait = not context.services.catalog.leaving.isdisjoint(topic.name for topic in request.topics)
    return _make_all_later(request, context) if wait else _make_all(request, context)


async def _make_all_later(request: CreateTopicsRequest, context: RequestContext) -> Any | AfterFlush:
    await context.services.catalog.wait_left([topic.name for topic in request.topics])
    reply = _make_all(request, context)
    return await reply if isinstance(reply, Coroutine) else reply


def _make_all(request: CreateTopicsRequest, context: RequestContext) -> Reply:
    services = context.services
    create = partial(_create, services=services, validate_only=request.validate_only)
    results: list[CreatableTopicResult] = []
    steps = answer_each(request.topics, create, CreatableTopicResult, results)
    return answer_in_turns(steps, CreateTopicsResponse(topics=results), services.catalog.flush_ticket, services)


def _create(
    topic: CreatableTopic, services: Services, *, validate_only: bool
) -> Generator[Step, Any, CreatableTopicResult]:
    catalog = services.catalog
    catalog.check_new_name(topic.name)
    catalog.check_space()
    if topic.name in INTERNAL_TOPICS:
        raise InvalidRequest(f"{topic.name} is made by the broker when it is needed")
    partitions = _partition_count(topic, services)
    configs = _configs(topic)
    result = CreatableTopicResult(
        name=topic.name,
        num_partitions=partitions,
        replication_factor=1,
    )
    if validate_only:
        catalog.check_new_topic(topic.name, partitions, configs)
    else:
        result.topic_id = (yield from catalog.making_topic(topic.name, partitions, configs)).id
    result.configs = _told(configs, catalog)
    return result


def _partition_count(topic: CreatableTopic, services: Services) -> int:
    if topic.assignments:
        if topic.num_partitions != DEFAULT or topic.replication_factor != DEFAULT:
            raise InvalidRequest("expected -1 partitions and replicas beside partitions that are placed by hand")
        _check_assignments(topic.assignments, services.node_id)
        return len(topic.assignments)
    if topic.replication_factor < 1 and topic.replication_factor != DEFAULT:
        raise InvalidReplicationFactor(f"expected 1 replica, or -1 for the default, found {topic.replication_factor}")
    if topic.num_partitions < 1 and topic.num_partitions != DEFAULT:
        raise InvalidPartitions(f"expected at least 1 partition, or -1 for the default, found {topic.num_partitions}")
    if topic.replication_factor > 1:
        raise InvalidReplicationFactor(f"expected 1 replica, as there is 1 broker, found {topic.replication_factor}")
    return services.settings.num_partitions if topic.num_partitions == DEFAULT else topic.num_partitions


def _check_assignments(assignments: Sequence[CreatableReplicaAssignment], node_id: int) -> None:
    indexes = sorted(assignment.partition_index for assignment in assignments)
    if indexes != list(range(len(indexes))):
        raise InvalidReplicaAssignment(f"expected partitions numbered from 0 on, each once, found {indexes}")
    for assignment in assignments:
        check_replicas(assignment.broker_ids, node_id)


def _configs(topic: CreatableTopic) -> dict[str, str]:
    configs = {}
    for config in topic.configs:
        if config.value is None:
            raise InvalidConfig(f"expected a value for {config.name}, found null")
        configs[config.name] = config.value
    return configs


def _told(configs: Mapping[str, str], catalog: Catalog) -> list[CreatableTopicConfigs]:
    return [
        CreatableTopicConfigs(
            name=entry.name,
            value=entry.value,
            read_only=entry.read_only,
            config_source=entry.source,
            is_sensitive=entry.sensitive,
        )
        for entry in describe_topic(configs, catalog.layers)
    ]
