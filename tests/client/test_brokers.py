"""The client against real brokers: ours, and with `-m foreign` Apache Kafka."""

from __future__ import annotations

from functools import partial

import attrs
import pytest
import trio
import trio.lowlevel

from minibroker.client import (
    MAX_TIMESTAMP,
    Admin,
    Consumer,
    Isolation,
    Producer,
    Seek,
    Start,
    TopicPartition,
)
from minibroker.protocol.errors import (
    GroupIdNotFound,
    InvalidConfig,
    InvalidPartitions,
    KafkaError,
    NonEmptyGroup,
    OffsetOutOfRange,
    TopicAlreadyExists,
    UnknownMemberId,
    UnknownTopicOrPartition,
)
from tests.clients.foreign import CODECS, READERS, WRITERS, Message

MESSAGES = [
    Message(b"key", b"value", 1_700_000_000_000, (("header", b"content"), ("null", None))),
    Message(None, b"", 1_700_000_000_001),
    Message(b"key", None, 1_700_000_000_500),
    Message(b"", b"x" * 5000, 1_700_000_000_499),
]


async def ours_write(bootstrap: str, topic: str, codec: str) -> None:
    """Our producer writes them all to partition 0."""
    async with Producer(bootstrap, compression=codec) as producer:
        for m in MESSAGES:
            await producer.send(topic, m.value, key=m.key, timestamp_ms=m.timestamp_ms, headers=m.headers, partition=0)


async def ours_read(bootstrap: str, topic: str, count: int) -> list[Message]:
    """Our consumer reads so many."""
    found: list[Message] = []
    async with Consumer(bootstrap, topics=[topic], start="earliest") as consumer:
        async for record in consumer:
            found.append(Message(record.key, record.value, record.timestamp_ms, record.headers))
            if len(found) == count:
                return found
    raise AssertionError("iteration never ends by itself")


async def test_others_read_what_we_write(bootstrap: str, topic: str) -> None:
    """Every codec, keys, headers, null values, times; and so do we."""
    async with Admin(bootstrap) as admin:
        await admin.create_topic(topic, 1)
    for codec in CODECS:
        await ours_write(bootstrap, topic, codec)
    expected = len(CODECS) * MESSAGES
    assert await ours_read(bootstrap, topic, len(expected)) == expected
    for read in READERS.values():
        assert await trio.to_thread.run_sync(read, bootstrap, topic, len(expected)) == expected


async def test_we_read_what_others_write(bootstrap: str, topic: str) -> None:
    """Their framings of each codec. (kafka-python knows no null headers.)"""
    messages = [attrs.evolve(m, headers=tuple(h for h in m.headers if h[1] is not None)) for m in MESSAGES]
    async with Admin(bootstrap) as admin:
        await admin.create_topic(topic, 1)
    for codec in CODECS:
        for write in WRITERS.values():
            await trio.to_thread.run_sync(write, bootstrap, topic, messages, codec)
    expected = len(CODECS) * len(WRITERS) * messages
    assert await ours_read(bootstrap, topic, len(expected)) == expected


async def test_topics_come_and_go(bootstrap: str, topic: str) -> None:
    """Create, list, describe, grow, configure, delete; refusals are the broker's own, with their reasons."""
    async with Admin(bootstrap) as admin:
        await admin.create_topic(topic, 2, configs={"retention.ms": "123456"}, validate_only=True)
        with pytest.raises(UnknownTopicOrPartition, match=topic):
            await admin.describe_topics([topic])
        await admin.create_topic(topic, 2, configs={"retention.ms": "123456"})
        with pytest.raises(TopicAlreadyExists):
            await admin.create_topic(topic, 2)
        with pytest.raises(InvalidConfig):
            await admin.create_topic(topic + "x", 1, configs={"retention.ms": "soon"})
        assert topic in await admin.list_topics()
        await admin.create_partitions(topic, 3)
        with pytest.raises(InvalidPartitions):
            await admin.create_partitions(topic, 1)
        described = (await admin.describe_topics([topic]))[topic]
        assert (sorted(described.partitions), described.topic_id.int > 0) == ([0, 1, 2], True)
        configs = await admin.topic_configs(topic)
        assert (configs["retention.ms"].value, configs["retention.ms"].is_default) == ("123456", False)
        await admin.alter_topic_configs(topic, {"retention.ms": None, "cleanup.policy": "compact"})
        configs = await admin.topic_configs(topic)
        assert (configs["cleanup.policy"].value, configs["retention.ms"].is_default) == ("compact", True)
        await admin.delete_topic(topic)
        with pytest.raises(UnknownTopicOrPartition):
            await admin.delete_topic(topic)


async def test_the_cluster_is_described(bootstrap: str, topic: str) -> None:
    """Brokers, their settings, and what lies in their directories."""
    async with Admin(bootstrap) as admin, Producer(bootstrap) as producer:
        cluster = await admin.describe_cluster()
        assert cluster.cluster_id
        assert cluster.controller_id in [broker.node_id for broker in cluster.brokers]
        assert (await admin.broker_configs(cluster.brokers[0].node_id))["log.retention.ms"] is not None
        await admin.create_topic(topic, 1)
        await producer.send(topic, b"x" * 10_000)
        await producer.flush()
        sizes = [directory.sizes.get(TopicPartition(topic, 0), 0) for directory in await admin.log_directories()]
        assert sum(sizes) > 10_000


async def test_offsets_and_deleted_records(bootstrap: str, topic: str) -> None:
    """Ends, times, and a log start that moves."""
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with Admin(bootstrap) as admin, Producer(bootstrap) as producer:
        await admin.create_topic(topic, 2)
        for number in range(20):
            await producer.send(topic, b"v", partition=number % 2, timestamp_ms=1_700_000_000_000 + number)
        await producer.flush()
        assert await admin.topic_offsets([topic]) == {first: (0, 10), second: (0, 10)}
        found = await admin.list_offsets({first: 1_700_000_000_007, second: MAX_TIMESTAMP})
        assert (found[first].offset, found[first].timestamp_ms) == (4, 1_700_000_000_008)
        assert (found[second].offset, found[second].timestamp_ms) == (9, 1_700_000_000_019)
        assert (await admin.list_offsets({first: 1_800_000_000_000}))[first].offset == -1
        assert await admin.delete_records({first: 3, second: -1}) == {first: 3, second: 10}
        with pytest.raises(OffsetOutOfRange):
            await admin.delete_records({first: 11})
        assert await admin.topic_offsets([topic]) == {first: (3, 10), second: (10, 10)}
    async with Consumer(bootstrap, partitions=[first], start=Seek(Start.OFFSET, 0), auto_offset_reset="earliest") as c:
        assert (await c.poll())[0].offset == 3


async def test_groups_are_described_and_changed(bootstrap: str, topic: str, group: str) -> None:
    """State, members, lag; offsets set, forgotten, deleted with the group; refused while it lives."""
    where = TopicPartition(topic, 0)
    async with Admin(bootstrap) as admin, Producer(bootstrap) as producer:
        await admin.create_topic(topic, 1)
        for _ in range(10):
            await producer.send(topic, b"v")
        await producer.flush()
        async with Consumer(
            bootstrap, topics=[topic], group=group, auto_offset_reset="earliest", auto_commit=False, client_id="me"
        ) as consumer:
            await consumer.poll(4)
            await consumer.commit()
            described = await admin.describe_group(group)
            assert (described.state, described.protocol, described.protocol_type) == ("Stable", "range", "consumer")
            (member,) = described.members
            assert (member.client_id, member.assignment) == ("me", {where})
            lag = (await admin.group_lag(group))[where]
            assert (lag.committed, lag.end, lag.lag, lag.member) == (4, 10, 6, member)
            for refused, error in (
                (partial(admin.delete_group, group), NonEmptyGroup),
                (partial(admin.alter_group_offsets, group, {where: 1}), UnknownMemberId),
                (partial(admin.delete_group_offsets, group, [where]), KafkaError),
            ):
                with pytest.raises(error):
                    await refused()
        assert group in [listing.group for listing in await admin.list_groups()]
        await admin.alter_group_offsets(group, {where: 7})
        assert (await admin.group_lag(group))[where].lag == 3
        await admin.delete_group_offsets(group, [where])
        assert await admin.group_offsets(group) == {}
        await admin.delete_group(group)
        for missing in (admin.describe_group, admin.delete_group):
            with pytest.raises(GroupIdNotFound):
                await missing(group)


@pytest.mark.parametrize("assignors", [("range",), ("roundrobin",), ("sticky",), ("cooperative-sticky",)])
async def test_three_members_share_and_take_over(
    bootstrap: str, topic: str, group: str, assignors: tuple[str, ...]
) -> None:
    """Members come one by one and go one by one: every record is handed out once, since all leave in good order."""
    partitions, per_partition = 6, 100
    async with Admin(bootstrap) as admin, Producer(bootstrap) as producer:
        await admin.create_topic(topic, partitions)
        for number in range(partitions * per_partition):
            await producer.send(topic, b"%d" % number, partition=number % partitions)
    seen: list[tuple[int, int]] = []
    readers: list[Consumer] = []
    goal = 0
    """How much may be read for the time being."""

    async def member(leave: trio.Event) -> None:
        async with Consumer(
            bootstrap,
            topics=[topic],
            group=group,
            assignors=assignors,
            auto_offset_reset="earliest",
            heartbeat_interval_ms=50,
        ) as reader:
            readers.append(reader)
            while not leave.is_set():
                records = await reader.poll(5 if len(seen) < goal else 0, timeout_ms=10)
                seen.extend((record.partition, record.offset) for record in records)
            readers.remove(reader)

    async def shared() -> None:
        """Wait until each has its part, and what may be read has been."""
        with trio.fail_after(30):
            while len(seen) < goal or any(len(r.assignment) != partitions // len(readers) for r in readers):
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        leaving = [trio.Event() for _ in range(3)]
        for leave in leaving:
            nursery.start_soon(member, leave)
            await trio.testing.wait_all_tasks_blocked()
            goal += 100
            await shared()
        for leave in leaving[:-1]:
            leave.set()
            await trio.lowlevel.checkpoint()
            goal += 100
            await shared()
        goal = partitions * per_partition
        await shared()
        leaving[-1].set()
    everything = [(partition, offset) for partition in range(partitions) for offset in range(per_partition)]
    assert sorted(set(everything) - set(seen)) == []
    assert sorted(seen) == everything


@pytest.mark.foreign
async def test_aborted_transactions_are_invisible(topic: str, request: pytest.FixtureRequest) -> None:
    """With read_committed; librdkafka writes one that commits, one that aborts, and one more."""
    import os

    if "KAFKA_BOOTSTRAP" not in os.environ:
        pytest.skip("KAFKA_BOOTSTRAP names no Apache Kafka to test against")
    bootstrap = os.environ["KAFKA_BOOTSTRAP"]
    async with Admin(bootstrap) as admin:
        await admin.create_topic(topic, 1)

    def write() -> None:
        from confluent_kafka import Producer as Librdkafka

        producer = Librdkafka({"bootstrap.servers": bootstrap, "transactional.id": topic})
        producer.init_transactions()
        for word in (b"committed", b"aborted", b"committed"):
            producer.begin_transaction()
            for _ in range(3):
                producer.produce(topic, word)
            producer.flush()
            if word == b"aborted":
                producer.abort_transaction()
            else:
                producer.commit_transaction()

    await trio.to_thread.run_sync(write)
    counts = {}
    for isolation in Isolation:
        async with Consumer(bootstrap, topics=[topic], start="earliest", isolation_level=isolation) as consumer:
            values = []
            while records := await consumer.poll(timeout_ms=1000):
                values += [record.value for record in records]
            counts[isolation] = (values.count(b"committed"), values.count(b"aborted"))
            assert consumer.lag(TopicPartition(topic, 0)) == 0
    assert counts == {Isolation.READ_UNCOMMITTED: (6, 3), Isolation.READ_COMMITTED: (6, 0)}
