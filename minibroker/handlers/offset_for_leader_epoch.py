"""OffsetForLeaderEpoch (23), versions 2-4: where a leader epoch ended (KIP-101, KIP-320).

A consumer asks this after a change of leaders to find out whether its position was cut away. Here every record has been
written under one leader, and what a consumer has seen is never cut: an epoch we know ends at the log end or at the next one.
"""

from __future__ import annotations

from minibroker.handlers.context import RequestContext
from minibroker.handlers.leader_epoch import check_leader_epoch
from minibroker.protocol.errors import KafkaError
from minibroker.protocol.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
)
from minibroker.topics.partition import Partition


def handle(request: OffsetForLeaderEpochRequest, context: RequestContext) -> OffsetForLeaderEpochResponse:
    """Look every partition up."""
    catalog = context.services.catalog
    topics = []
    for topic in request.topics:
        partitions = []
        for wanted in topic.partitions:
            try:
                partitions.append(_end_of_epoch(catalog.partition(topic.topic, wanted.partition), wanted))
            except KafkaError as error:
                partitions.append(EpochEndOffset(error_code=error.code, partition=wanted.partition))
        topics.append(OffsetForLeaderTopicResult(topic=topic.topic, partitions=partitions))
    return OffsetForLeaderEpochResponse(topics=topics)


def _end_of_epoch(partition: Partition, wanted: OffsetForLeaderPartition) -> EpochEndOffset:
    check_leader_epoch(partition, wanted.current_leader_epoch)
    if wanted.leader_epoch != partition.leader_epoch:
        return EpochEndOffset(partition=wanted.partition)  # undefined
    return EpochEndOffset(
        partition=wanted.partition, leader_epoch=partition.leader_epoch, end_offset=partition.high_watermark
    )
