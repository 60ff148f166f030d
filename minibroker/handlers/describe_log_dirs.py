"""DescribeLogDirs (35), versions 1-4: how much room the partitions take in the data directory (KIP-113).

- There is one directory, and no replica that lags or moves. No topics in the request means all of them.
- v4 adds the size of the volume and what is free on it (KIP-827).
- Left out: v5, cordoned directories (KIP-1066). The size is that of the records, without the indexes, as on Kafka.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from minibroker.handlers.context import RequestContext, Services
from minibroker.protocol.messages.describe_log_dirs import (
    DescribableLogDirTopic,
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)
from minibroker.topics.catalog import Catalog
from minibroker.topics.partition import Partition


def handle(request: DescribeLogDirsRequest, context: RequestContext) -> DescribeLogDirsResponse:
    """Describe the data directory."""
    return DescribeLogDirsResponse(results=[_directory(request.topics, context.services)])


def _directory(wanted: list[DescribableLogDirTopic] | None, services: Services) -> DescribeLogDirsResult:
    path = services.settings.log_dirs
    fs = services.catalog.metadata.log.fs
    return DescribeLogDirsResult(
        log_dir=os.path.abspath(path),
        topics=[
            DescribeLogDirsTopic(name=name, partitions=[_partition(partition) for partition in partitions])
            for name, partitions in _found(wanted, services.catalog)
            if partitions
        ],
        total_bytes=fs.total_bytes(path),
        usable_bytes=fs.free_bytes(path),
    )


def _found(wanted: list[DescribableLogDirTopic] | None, catalog: Catalog) -> Iterator[tuple[str, list[Partition]]]:
    """The partitions that are asked about and exist."""
    if wanted is None:
        yield from ((topic.name, topic.partitions) for topic in catalog.listed_topics())
        return
    for asked in wanted:
        topic = catalog.topics.get(asked.topic)
        if topic is not None:
            indexes = sorted(set(asked.partitions) & set(range(len(topic.partitions))))
            yield topic.name, [topic.partitions[index] for index in indexes]


def _partition(partition: Partition) -> DescribeLogDirsPartition:
    return DescribeLogDirsPartition(
        partition_index=partition.index, partition_size=partition.log.size_bytes, offset_lag=0, is_future_key=False
    )
