"""Metadata (3), versions 0-13: the broker, and the topics that are asked for.

- "All topics" is an empty list in v0 and null from v1 on.
- A topic that does not exist is created where `auto.create.topics.enable` and the request allow it; before v4 a request
  always does. It is there in the same answer, where Kafka first answers UNKNOWN_TOPIC_OR_PARTITION.
- v5 adds offline replicas (we have none), v7 the leader epoch, v8 authorized operations (KIP-430; v8-10 for the cluster),
  v10 topic ids, v12 asking by topic id (KIP-516), v13 a top-level error.
- A topic that is named twice in one way is answered once.
- The answer waits until what it tells of new topics is durable.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from minibroker.handlers.authorized import CLUSTER_OPERATIONS, TOPIC_OPERATIONS
from minibroker.handlers.context import AfterFlush, Reply, RequestContext
from minibroker.handlers.turns import Steps, in_turns
from minibroker.protocol.errors import KafkaError, UnknownTopicId, UnknownTopicOrPartition
from minibroker.protocol.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from minibroker.protocol.schema import OPERATIONS_OMITTED
from minibroker.topics.catalog import Topic
from minibroker.topics.names import check_topic_name

STEPS_PER_UNKNOWN: Final = 100
"""A topic that is not there may have to be made."""


def handle(request: MetadataRequest, context: RequestContext) -> Reply:
    """Describe the broker and the topics."""
    topics: list[MetadataResponseTopic] = []
    reply = partial(_reply, topics, request, context)
    return in_turns(_fill(topics, request, context), reply, context.services, context.services.long_answers)


def _fill(topics: list[MetadataResponseTopic], request: MetadataRequest, context: RequestContext) -> Steps:
    """Describe a topic a step."""
    if request.topics is None or (context.version == 0 and not request.topics):
        for topic in context.services.catalog.listed_topics():
            topics.append(_describe(topic, request, context))
            yield 1 + len(topic.partitions)
        return
    for wanted in {(topic.name, topic.topic_id): topic for topic in request.topics}.values():
        is_known = wanted.name in context.services.catalog.topics
        found = _describe_or_refuse(wanted, request, context)
        topics.append(found)
        yield (1 if is_known else STEPS_PER_UNKNOWN) + len(found.partitions)


def _reply(topics: list[MetadataResponseTopic], request: MetadataRequest, context: RequestContext) -> AfterFlush:
    services = context.services
    response = MetadataResponse(
        brokers=[
            MetadataResponseBroker(node_id=services.node_id, host=context.endpoint.host, port=context.endpoint.port)
        ],
        cluster_id=services.cluster_id,
        controller_id=services.node_id,
        topics=topics,
        cluster_authorized_operations=(
            CLUSTER_OPERATIONS if request.include_cluster_authorized_operations else OPERATIONS_OMITTED
        ),
    )
    return AfterFlush(response, services.catalog.flush_ticket())


def _describe_or_refuse(
    wanted: MetadataRequestTopic, request: MetadataRequest, context: RequestContext
) -> MetadataResponseTopic:
    try:
        return _describe(_find_or_create(wanted, request, context), request, context)
    except KafkaError as error:
        return MetadataResponseTopic(
            error_code=error.code,
            name=wanted.name if wanted.name is not None or context.version >= 12 else "",
            topic_id=wanted.topic_id,
        )


def _find_or_create(wanted: MetadataRequestTopic, request: MetadataRequest, context: RequestContext) -> Topic:
    catalog = context.services.catalog
    if wanted.name is None:
        topic = catalog.topic_by_id(wanted.topic_id)
        if topic is None:
            raise UnknownTopicId(f"no topic has the id {wanted.topic_id}")
        return topic
    topic = catalog.topics.get(wanted.name)
    if topic is None:
        if not (context.version < 4 or request.allow_auto_topic_creation):
            check_topic_name(wanted.name)
            raise UnknownTopicOrPartition(f"there is no topic {wanted.name}")
        catalog.check_space()
        topic = catalog.auto_create(wanted.name)
    return topic


def _describe(topic: Topic, request: MetadataRequest, context: RequestContext) -> MetadataResponseTopic:
    node_id = context.services.node_id
    return MetadataResponseTopic(
        name=topic.name,
        topic_id=topic.id,
        is_internal=topic.is_internal,
        partitions=[
            MetadataResponsePartition(
                partition_index=partition.index,
                leader_id=node_id,
                leader_epoch=partition.leader_epoch,
                replica_nodes=[node_id],
                isr_nodes=[node_id],
            )
            for partition in topic.partitions
        ],
        topic_authorized_operations=(
            TOPIC_OPERATIONS if request.include_topic_authorized_operations else OPERATIONS_OMITTED
        ),
    )
