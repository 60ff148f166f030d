"""DescribeTopicPartitions (75), version 0: topics in the order of their names, page by page (KIP-966).

- Without topics it describes all. A page has as many partitions as the request and `max.request.partition.size.limit`
  allow, at least one; the cursor says where the next page begins.
- The cursor's topic must be among those asked for. With all topics it may have gone meanwhile: the next one is begun.
- Eligible leader replicas are listed as empty: the one replica is in sync.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from minibroker.handlers.authorized import TOPIC_OPERATIONS
from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
)
from minibroker.topics.catalog import Catalog, Topic
from minibroker.topics.names import check_topic_name


def handle(request: DescribeTopicPartitionsRequest, context: RequestContext) -> AfterFlush:
    """Describe one page."""
    services = context.services
    catalog = services.catalog
    limit = max(1, min(request.response_partition_limit, services.settings.max_request_partition_size_limit))
    asked = sorted({topic.name for topic in request.topics})
    names = asked or sorted(topic.name for topic in catalog.listed_topics())
    cursor = request.cursor
    if cursor is not None and (cursor.partition_index < 0 or (asked and cursor.topic_name not in asked)):
        # A bad cursor has no place of its own in the response: every topic says so.
        refused = ErrorCode.INVALID_REQUEST
        topics = [DescribeTopicPartitionsResponseTopic(name=name, error_code=refused) for name in asked]
        response = DescribeTopicPartitionsResponse(topics=topics)
    else:
        response = _page(names, cursor, limit, catalog, services.node_id)
    return AfterFlush(response, catalog.flush_ticket())


def _page(
    names: Iterable[str], cursor: Cursor | None, limit: int, catalog: Catalog, node_id: int
) -> DescribeTopicPartitionsResponse:
    response = DescribeTopicPartitionsResponse()
    for name, start in _starts(names, cursor):
        if limit <= 0:
            response.next_cursor = Cursor(topic_name=name, partition_index=start)
            break
        try:
            check_topic_name(name)
            topic = catalog.topic(name)
        except KafkaError as error:
            unknown = DescribeTopicPartitionsResponseTopic(name=name, error_code=error.code)
            unknown.topic_authorized_operations = TOPIC_OPERATIONS
            response.topics.append(unknown)
            continue
        end = max(start, min(len(topic.partitions), start + limit))
        response.topics.append(_topic(topic, start, end, node_id))
        if end < len(topic.partitions):
            response.next_cursor = Cursor(topic_name=name, partition_index=end)
            break
        limit -= end - start
    return response


def _starts(names: Iterable[str], cursor: Cursor | None) -> Iterator[tuple[str, int]]:
    """The topics from the cursor on, each with the partition to begin with."""
    for name in names:
        if cursor is None or name > cursor.topic_name:
            yield name, 0
        elif name == cursor.topic_name:
            yield name, cursor.partition_index


def _topic(topic: Topic, start: int, end: int, node_id: int) -> DescribeTopicPartitionsResponseTopic:
    return DescribeTopicPartitionsResponseTopic(
        name=topic.name,
        topic_id=topic.id,
        is_internal=topic.is_internal,
        partitions=[
            DescribeTopicPartitionsResponsePartition(
                partition_index=partition.index,
                leader_id=node_id,
                leader_epoch=partition.leader_epoch,
                replica_nodes=[node_id],
                isr_nodes=[node_id],
                eligible_leader_replicas=[],
                last_known_elr=[],
            )
            for partition in topic.partitions[start:end]
        ],
        topic_authorized_operations=TOPIC_OPERATIONS,
    )
