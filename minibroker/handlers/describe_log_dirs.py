"""DescribeLogDirs (35), versions 1-4: how much room the partitions take in the data directory (KIP-113).

- There is one directory, and no replica that lags or moves. No topics in the request means all of them.
- v4 adds the size of the volume and what is free on it (KIP-827).
- Left out: v5, cordoned directories (KIP-1066). The size is that of the records, without the indexes, as on Kafka.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator

from minibroker.handlers.context import Reply, RequestContext
from minibroker.handlers.turns import Steps, in_turns
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


def handle(request: DescribeLogDirsRequest, context: RequestContext) -> Reply:
    """Describe the data directory."""
    services = context.services
    path = services.settings.log_dirs
    fs = services.catalog.metadata.log.fs
    directory = DescribeLogDirsResult(
        log_dir=os.path.abspath(path), total_bytes=fs.total_bytes(path), usable_bytes=fs.free_bytes(path)
    )
    steps = _fill(directory.topics, request.topics, services.catalog)
    return in_turns(steps, lambda: DescribeLogDirsResponse(results=[directory]), services, services.long_answers)


def _fill(topics: list[DescribeLogDirsTopic], wanted: list[DescribableLogDirTopic] | None, catalog: Catalog) -> Steps:
    """Describe a topic a step."""
    for name, partitions in _found(wanted, catalog):
        if partitions:
            topics.append(DescribeLogDirsTopic(name=name, partitions=[_partition(one) for one in partitions]))
        yield 1 + len(partitions)


def _found(wanted: list[DescribableLogDirTopic] | None, catalog: Catalog) -> Iterator[tuple[str, list[Partition]]]:
    """The partitions that are asked about and exist."""
    if wanted is None:
        yield from ((topic.name, topic.partitions) for topic in catalog.listed_topics())
        return
    indexes: defaultdict[str, set[int]] = defaultdict(set)
    for asked in wanted:
        indexes[asked.topic].update(asked.partitions)
    for name, asked_indexes in indexes.items():
        topic = catalog.topics.get(name)
        known = topic.partitions if topic is not None else []
        yield name, [known[index] for index in sorted(asked_indexes) if 0 <= index < len(known)]


def _partition(partition: Partition) -> DescribeLogDirsPartition:
    return DescribeLogDirsPartition(
        partition_index=partition.index, partition_size=partition.log.size_bytes, offset_lag=0, is_future_key=False
    )
