"""`minibroker admin topics`: list, create, describe, delete, add partitions, delete records."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import attrs
from cyclopts import Parameter

from minibroker.cli.administering import PartitionsOption, administer, assignments, target_offsets
from minibroker.cli.options import DEFAULT_BROKER, BrokerOption, JsonOption, program
from minibroker.cli.positions import parse_start
from minibroker.cli.tables import show, show_json
from minibroker.client.admin import Admin
from minibroker.client.metadata import TopicInfo, TopicPartition
from minibroker.client.partition_state import Start
from minibroker.protocol.errors import TopicAlreadyExists

app = program(None, "List, create, describe and delete topics; add partitions; delete records.")


@attrs.frozen(kw_only=True)
class TopicRow:
    """A topic in a list. `records` counts offsets: on a compacted topic there may be fewer records."""

    topic: str
    partitions: int
    replicas: int
    records: int
    bytes: int


@attrs.frozen(kw_only=True)
class PartitionRow:
    """A partition of a topic."""

    partition: int
    leader: int
    replicas: list[int]
    in_sync: list[int]
    begin: int
    end: int
    bytes: int


@attrs.frozen(kw_only=True)
class TopicDetails:
    """A topic with its partitions and the settings that are its own."""

    topic: str
    id: str
    internal: bool
    configs: dict[str, str | None]
    partitions: list[PartitionRow]


@app.default
@app.command(name="list")
async def list_topics(
    *,
    internal: Annotated[bool, Parameter(help="The broker's own topics too.")] = False,
    broker: BrokerOption = DEFAULT_BROKER,
    json: JsonOption = False,
) -> None:
    """List all topics."""
    async with administer(broker) as admin:
        topics = await admin.list_topics(internal=internal)
        offsets, sizes = await admin.topic_offsets(topics) if topics else {}, await _sizes(admin)
    rows = [
        TopicRow(
            topic=name,
            partitions=len(topic.partitions),
            replicas=max((len(partition.replicas) for partition in topic.partitions.values()), default=0),
            records=sum(end - begin for where, (begin, end) in offsets.items() if where.topic == name),
            bytes=sum(sizes.get(TopicPartition(name, index), 0) for index in topic.partitions),
        )
        for name, topic in topics.items()
    ]
    show(TopicRow, rows, as_json=json)


@app.command
async def describe(
    topic: str, /, *topics: str, broker: BrokerOption = DEFAULT_BROKER, json: JsonOption = False
) -> None:
    """Show topics with their partitions and their own settings."""
    async with administer(broker) as admin:
        infos = await admin.describe_topics((topic, *topics))
        found = [await _details(admin, info) for info in infos.values()]
    if json:
        show_json(found)
        return
    for details in found:
        configs = ", ".join(f"{name}={value}" for name, value in details.configs.items()) or "defaults only"
        print(f"topic {details.topic}, id {details.id}{', internal' if details.internal else ''}, settings: {configs}")
        show(PartitionRow, details.partitions, as_json=False)


@app.command
async def create(
    topic: str,
    /,
    *topics: str,
    partitions: Annotated[int, Parameter(alias="-p", help="How many; by default the broker's.")] = -1,
    replication_factor: Annotated[int, Parameter(help="How many replicas; by default the broker's.")] = -1,
    config: Annotated[tuple[str, ...], Parameter(alias="-c", help="A setting KEY=VALUE; may be repeated.")] = (),
    if_not_exists: Annotated[bool, Parameter(help="It is no error if a topic is there.")] = False,
    broker: BrokerOption = DEFAULT_BROKER,
) -> None:
    """Create topics."""
    configs = assignments("--config", config)
    async with administer(broker) as admin:
        for name in (topic, *topics):
            try:
                await admin.create_topic(name, partitions, replication_factor=replication_factor, configs=configs)
            except TopicAlreadyExists:
                if not if_not_exists:
                    raise


@app.command
async def delete(topic: str, /, *topics: str, broker: BrokerOption = DEFAULT_BROKER) -> None:
    """Delete topics with all their records."""
    async with administer(broker) as admin:
        for name in (topic, *topics):
            await admin.delete_topic(name)


@app.command
async def add_partitions(
    topic: str, total: Annotated[int, Parameter(help="How many partitions it is to have in all.")], /,
    *, broker: BrokerOption = DEFAULT_BROKER,
) -> None:  # fmt: skip
    """Let TOPIC have TOTAL partitions, more than now. Keys will then go to other partitions than before."""
    async with administer(broker) as admin:
        await admin.create_partitions(topic, total)


@app.command
async def delete_records(
    topic: str,
    /,
    *,
    before: Annotated[
        str, Parameter(help="What to delete: all before this offset, time, `end`, or -N for all but the last N.")
    ],
    partition: PartitionsOption = (),
    broker: BrokerOption = DEFAULT_BROKER,
    json: JsonOption = False,
) -> None:
    """Delete the oldest records of TOPIC. There is no way back."""
    start = parse_start(before, "--before")
    async with administer(broker) as admin:
        infos = await admin.describe_topics([topic])
        wanted = [TopicPartition(topic, index) for index in partition or infos[topic].partitions]
        if start.start is Start.OFFSET:  # as it is: the broker refuses one that it does not have
            begins = await admin.delete_records(dict.fromkeys(wanted, start.value))
        else:
            begins = await admin.delete_records(await target_offsets(admin, wanted, start))
    rows = [BeginRow(topic=where.topic, partition=where.partition, begin=begin) for where, begin in begins.items()]
    show(BeginRow, rows, as_json=json)


@attrs.frozen(kw_only=True)
class BeginRow:
    """Where a partition begins now."""

    topic: str
    partition: int
    begin: int


async def _details(admin: Admin, info: TopicInfo) -> TopicDetails:
    offsets, sizes = await admin.topic_offsets([info.name]), await _sizes(admin)
    configs = await admin.topic_configs(info.name)
    rows = []
    for index, partition in info.partitions.items():
        where = TopicPartition(info.name, index)
        begin, end = offsets[where]
        rows.append(
            PartitionRow(
                partition=index,
                leader=partition.leader,
                replicas=list(partition.replicas),
                in_sync=list(partition.in_sync_replicas),
                begin=begin,
                end=end,
                bytes=sizes.get(where, 0),
            )
        )
    return TopicDetails(
        topic=info.name,
        id=str(info.topic_id if info.topic_id.int else UUID(int=0)),
        internal=info.internal,
        configs={name: entry.value for name, entry in configs.items() if entry.source.name == "TOPIC"},
        partitions=rows,
    )


async def _sizes(admin: Admin) -> dict[TopicPartition, int]:
    sizes: dict[TopicPartition, int] = {}
    for directory in await admin.log_directories():
        for where, size in directory.sizes.items():
            sizes[where] = max(sizes.get(where, 0), size)
    return sizes
