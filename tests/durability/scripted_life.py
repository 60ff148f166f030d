"""One client and the script of its life with a broker, every step of which can be done again if the broker dies in it.

The script asks for whatever a broker does to its files: topics come, grow and go, segments roll, a group forms and
commits, records are deleted, logs are compacted, checkpoints are written; it ends in an orderly way, starts, is killed,
recovers. There is one request at a time and no timer, so the broker makes the same calls each time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import attrs

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from minibroker.protocol.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from minibroker.protocol.messages.delete_topics import DeleteTopicsRequest
from minibroker.protocol.messages.heartbeat import HeartbeatRequest
from minibroker.protocol.messages.init_producer_id import InitProducerIdRequest
from minibroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from minibroker.protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from minibroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from minibroker.records.batch import iter_batches
from minibroker.records.builder import build_batch
from minibroker.records.record import read_records
from tests.durability.process import BrokerProcess, Ended
from tests.simulation.history import History, Place, key_of
from tests.traps.talk import NOW_MS, create, fetch, fetch_request
from tests.traps.test_groups import commit, committed
from tests.traps.wire import Wire

NEVER = str(3_600_000)
SETTINGS = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.segment.bytes": "1024",
    "log.segment.bytes": "1024",
    "log.index.interval.bytes": "200",
    "log.retention.ms": "-1",
    "log.cleaner.min.cleanable.ratio": "0.1",
    "minibroker.disk.reserve.bytes": "0",
    # What runs by the clock runs when the script says so.
    "log.flush.offset.checkpoint.interval.ms": NEVER,
    "log.retention.check.interval.ms": NEVER,
    "log.cleaner.backoff.ms": NEVER,
}
LOST = (ConnectionError, EOFError, Ended)
"""How the client notices that the broker has died."""
RECORD_BYTES = 60
COMPACTED = ("c", 0)
READER = "reader"
GROUP = "group"
MEMBER = "member"


@attrs.define(eq=False)
class Client:
    """A producer, a reader, and the one member of a group, which know how far they are."""

    history: History = attrs.field(factory=History)
    producer: tuple[int, int] = (-1, -1)
    """Id and epoch."""
    sequences: dict[Place, int] = attrs.field(factory=dict)
    positions: dict[Place, int] = attrs.field(factory=dict)
    values: int = 0
    joins: int = 0
    wire: Wire | None = None

    def __attrs_post_init__(self) -> None:
        self.history.place(COMPACTED).compacted = True

    def copy(self) -> Client:
        """The same, to live another life."""
        assert self.wire is None
        return copy.deepcopy(self)

    def connect(self, address: str) -> None:
        """Talk to a broker that has just started."""
        self.disconnect()
        self.wire = Wire(address)

    def disconnect(self) -> None:
        """Hang up."""
        if self.wire is not None:
            self.wire.sock.close()
            self.wire = None

    @property
    def _wire(self) -> Wire:
        assert self.wire is not None
        return self.wire

    # -- what steps are made of; each holds when it is begun again

    def create(self, topic: str, partitions: int = 1, **configs: str) -> None:
        """Make a topic; there may be one from the attempt before."""
        self.history.expect_topic(topic, None)
        assert create(self._wire, topic, partitions=partitions, **configs) in (
            ErrorCode.NONE,
            ErrorCode.TOPIC_ALREADY_EXISTS,
        )
        self.history.expect_topic(topic, True)

    def grow(self, topic: str, count: int) -> None:
        """Have more partitions."""
        request = CreatePartitionsRequest(topics=[CreatePartitionsTopic(name=topic, count=count, assignments=None)])
        (result,) = self._wire.ask(request, 3).results
        assert result.error_code in (ErrorCode.NONE, ErrorCode.INVALID_PARTITIONS), result

    def delete(self, topic: str) -> None:
        """Delete a topic; it may have gone in the attempt before."""
        self.history.expect_topic(topic, None)
        (result,) = self._wire.ask(DeleteTopicsRequest(topic_names=[topic], timeout_ms=1000), 5).responses
        assert result.error_code in (ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.history.expect_topic(topic, False)

    def delete_records(self, place: Place, offset: int) -> None:
        """Move the start of a log."""
        self.history.delete_records(place, offset, acked=False)
        partition = DeleteRecordsPartition(partition_index=place[1], offset=offset)
        request = DeleteRecordsRequest(topics=[DeleteRecordsTopic(name=place[0], partitions=[partition])])
        (result,) = self._wire.ask(request, 2).topics[0].partitions
        assert result.error_code == ErrorCode.NONE
        self.history.delete_records(place, offset, acked=True)

    def become_producer(self) -> None:
        """Get an id."""
        answer = self._wire.ask(InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0), 4)
        assert answer.error_code == ErrorCode.NONE
        self.history.give_producer_id(answer.producer_id, answer.producer_epoch)
        self.producer = (answer.producer_id, answer.producer_epoch)
        self.sequences.clear()

    def new_values(self, place: Place, count: int) -> list[bytes]:
        """Values that no other record has, sent by nobody yet."""
        first, self.values = self.values, self.values + count
        keys = [f"k{number % 3}" if place == COMPACTED else "v" for number in range(first, first + count)]
        values = [f"{key}:{number}:".encode() for number, key in enumerate(keys, first)]
        return [value.ljust(RECORD_BYTES, b".") for value in values]

    def produce(self, batches: dict[Place, list[bytes]]) -> None:
        """One request with a batch for each partition. Done again, it has the same sequences."""
        topics = []
        for place, values in batches.items():
            if values[0] not in self.history.place(place).sent:
                self.history.send(place, 1, values)
            records = build_batch(
                ((NOW_MS, key_of(value), value, ()) for value in values),
                producer_id=self.producer[0],
                producer_epoch=self.producer[1],
                base_sequence=self.sequences.get(place, 0),
            )
            data = PartitionProduceData(index=place[1], records=records)
            topics.append(TopicProduceData(name=place[0], partition_data=[data]))
        request = ProduceRequest(acks=-1, timeout_ms=1000, topic_data=topics)
        for topic in self._wire.ask(request, 9).responses:
            (answer,) = topic.partition_responses
            place = (topic.name, answer.index)
            assert answer.error_code == ErrorCode.NONE, f"{place}: error {answer.error_code}"
            self.history.ack(place, answer.base_offset, batches[place])
            self.sequences[place] = self.sequences.get(place, 0) + len(batches[place])

    def poll(self, place: Place) -> None:
        """Read on to the end."""
        if place not in self.positions:
            self.positions[place] = 0
            self.history.seek(READER, place, 0)
        while True:
            position = self.positions[place]
            answer = fetch(self._wire, fetch_request(place[0], position, partition=place[1]))
            assert answer.error_code == ErrorCode.NONE, f"{place}: error {answer.error_code} at {position}"
            self._take(place, memoryview(answer.records or b""))
            if place[0] != COMPACTED[0]:
                self.history.reach_end(READER, place, answer.high_watermark)
            if self.positions[place] >= answer.high_watermark:
                return
            assert self.positions[place] > position, f"{place}: nothing at {position} of {answer.high_watermark}"

    def _take(self, place: Place, batches: memoryview) -> None:
        for batch, whole in iter_batches(batches):
            for record in read_records(whole, max_bytes=1 << 20):
                if record.offset >= self.positions[place]:
                    self.history.poll(READER, place, record.offset, record.value or b"")
            self.positions[place] = max(self.positions[place], batch.last_offset + 1)

    def join_and_commit(self, place: Place) -> None:
        """Be the member of a group with something new to say, so that a generation begins; commit the position.

        It is a static member: whoever comes back under its name need not wait for the one that has gone.
        """
        self.joins += 1
        protocol = JoinGroupRequestProtocol(name="range", metadata=b"%d" % self.joins)
        joined = self._wire.ask(
            JoinGroupRequest(
                group_id=GROUP,
                session_timeout_ms=30_000,
                rebalance_timeout_ms=30_000,
                group_instance_id=MEMBER,
                protocol_type="consumer",
                protocols=[protocol],
            ),
            5,
        )
        assert joined.error_code == ErrorCode.NONE
        member: Any = {
            "group_id": GROUP,
            "generation_id": joined.generation_id,
            "member_id": joined.member_id,
            "group_instance_id": MEMBER,
        }
        assignment = SyncGroupRequestAssignment(member_id=joined.member_id, assignment=b"all")
        synced = self._wire.ask(SyncGroupRequest(assignments=[assignment], **member), 3)
        assert synced.error_code == ErrorCode.NONE
        self.history.see_generation(GROUP, joined.generation_id)
        assert self._wire.ask(HeartbeatRequest(**member), 3).error_code == ErrorCode.NONE
        self.commit(place, self.positions[place], joined.generation_id, joined.member_id)

    def commit(self, place: Place, offset: int, generation_id: int = -1, member_id: str = "") -> None:
        """Commit, and see it."""
        group = GROUP if member_id else "alone"
        assert place[1] == 0
        known = self.history.known_commit(group, place)
        self.history.try_commit(group, place, offset)
        error = commit(self._wire, group, place[0], offset, generation_id=generation_id, member_id=member_id)
        assert error == ErrorCode.NONE
        self.history.commit(group, place, offset)
        assert known <= offset
        (found,) = committed(self._wire, group)
        self.history.read_commit(group, place, found.committed_offset, offset)


Step = Callable[[Client, BrokerProcess], None]


@attrs.define
class Produce:
    """Batches to several partitions; the values are chosen once."""

    places: tuple[Place, ...]
    count: int
    chosen: dict[Place, list[bytes]] = attrs.field(factory=dict)

    def __call__(self, client: Client, broker: BrokerProcess) -> None:
        if not self.chosen:
            self.chosen = {place: client.new_values(place, self.count) for place in self.places}
        client.produce(self.chosen)


@attrs.frozen
class Poll:
    """Read partitions to their ends."""

    places: tuple[Place, ...]

    def __call__(self, client: Client, broker: BrokerProcess) -> None:
        for place in self.places:
            client.poll(place)


@attrs.frozen
class Job:
    """A job of the broker's maintenance."""

    name: str

    def __call__(self, client: Client, broker: BrokerProcess) -> None:
        broker.do(self.name)


A0, A1, D0 = ("a", 0), ("a", 1), ("d", 0)


@attrs.frozen
class Phase:
    """From one start of a broker to its end."""

    name: str
    steps: Callable[[], list[Step]]
    stops: bool
    """In an orderly way; else it is killed."""
    sync_all_files: int | None = None


def first_steps() -> list[Step]:
    """Everything begins."""
    return [
        lambda client, broker: client.create("a", 2),
        lambda client, broker: client.create("c", cleanup_policy="compact"),
        lambda client, broker: client.create("d"),
        lambda client, broker: client.become_producer(),
        *(Produce((A0, A1, COMPACTED), 4) for _ in range(4)),
        Produce((D0,), 2),
        Poll((A0, A1, COMPACTED, D0)),
        lambda client, broker: client.join_and_commit(A0),
        lambda client, broker: client.commit(A0, 7),
        Job("save_checkpoint"),
        Produce((A0, COMPACTED), 4),
        lambda client, broker: client.delete_records(A0, 6),
        lambda client, broker: client.delete("d"),
        Job("remove_deleted"),
        Job("retain"),
        Job("compact"),
        *(Produce((COMPACTED, A1), 5) for _ in range(2)),
        Poll((A0, A1, COMPACTED)),
    ]


def second_steps() -> list[Step]:
    """After an orderly end."""
    return [
        Produce((A0, A1), 3),
        lambda client, broker: client.grow("a", 3),
        lambda client, broker: client.become_producer(),
        Produce((A0, A1, ("a", 2)), 4),
        Poll((A0, A1)),
        lambda client, broker: client.join_and_commit(A0),
        Job("compact"),
        *(Produce((COMPACTED, A1), 5) for _ in range(3)),
        lambda client, broker: client.create("e"),
    ]


def third_steps() -> list[Step]:
    """After a kill."""
    return [
        Poll((A0, A1, ("a", 2), COMPACTED)),
        Produce((A0, A1, COMPACTED), 4),
        lambda client, broker: client.join_and_commit(A0),
        lambda client, broker: client.delete_records(A1, 20),
        Job("compact"),
        Job("save_checkpoint"),
        Job("retain"),
        Poll((A0, A1, COMPACTED)),
    ]


PHASES = (
    Phase("first life", first_steps, stops=True),
    Phase("after an orderly end", second_steps, stops=False, sync_all_files=2),
    Phase("after a kill", third_steps, stops=True),
)
