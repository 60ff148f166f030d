"""Clients of a simulated broker: producers, consumers, members of a group, and somebody who makes and removes topics."""

from __future__ import annotations

from collections import deque

import attrs

from minibroker.protocol.errors import CorruptMessage, ErrorCode
from minibroker.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from minibroker.protocol.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from minibroker.protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from minibroker.protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from minibroker.protocol.messages.init_producer_id import InitProducerIdRequest
from minibroker.protocol.messages.metadata import MetadataRequest
from minibroker.protocol.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    TopicProduceData,
)
from minibroker.records.batch import iter_batches, verify_crc
from minibroker.records.builder import build_batch
from minibroker.records.compression import Codec
from minibroker.records.record import read_records
from tests.simulation.history import Place, key_of
from tests.simulation.network import Answer, Link, Lost
from tests.simulation.world import Client, World, name_of

MAX_IN_FLIGHT = 5
STORAGE_ERRORS = (
    ErrorCode.KAFKA_STORAGE_ERROR,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
)


def produce(place: Place, batch: bytes, acks: int) -> ProduceRequest:
    """A request with one batch."""
    data = PartitionProduceData(index=place[1], records=memoryview(batch))
    return ProduceRequest(
        acks=acks, timeout_ms=1000, topic_data=[TopicProduceData(name=place[0], partition_data=[data])]
    )


@attrs.define(eq=False, repr=False)
class Sent:
    """A batch that is to be acknowledged."""

    place: Place
    values: list[bytes]
    sequence: int
    answer: Answer | None = None


@attrs.define(eq=False, repr=False)
class IdempotentProducer(Client):
    """Keeps up to five batches in flight, and sends again whatever was not answered."""

    world: World
    name: str
    places: list[Place]
    keyed: bool = False
    producer: tuple[int, int] | None = None
    sequences: dict[Place, int] = attrs.field(factory=dict)
    in_flight: deque[Sent] = attrs.field(factory=deque)
    acked: int = 0

    async def session(self, link: Link) -> None:
        """Send what is in flight again, then more."""
        if self.producer is None or (not self.in_flight and self.world.rng.random() < 0.5):
            response = await link.ask(InitProducerIdRequest(transactional_id=None), 4)
            if response.error_code:
                expect_storage_error(self.world, self.name, response.error_code)
                return
            self.world.history.give_producer_id(response.producer_id, response.producer_epoch)
            self.world.trace(self.name, response.producer_id)
            self.producer = (response.producer_id, response.producer_epoch)
            self.sequences.clear()
        for sent in self.in_flight:
            self._send(link, sent)
        rng = self.world.rng
        while True:
            while len(self.in_flight) < MAX_IN_FLIGHT and rng.random() < 0.7:
                self._send(link, self._new_batch())
            if rng.random() < 0.02:
                return
            if not self.in_flight and rng.random() < 0.1:
                return
            if self.in_flight and not await self._hear(self.in_flight[0]):
                return
            await self.world.pause()

    def _new_batch(self) -> Sent:
        rng = self.world.rng
        place = rng.choice(self.places)
        prefixes = [
            f"k{rng.choice((0, 1, 2, rng.randrange(20)))}" if self.keyed else "" for _ in range(rng.randint(1, 3))
        ]
        values = [self.world.new_value(prefix) for prefix in prefixes]
        sequence = self.sequences.get(place, 0)
        self.sequences[place] = sequence + len(values)
        assert self.producer is not None
        self.world.history.send(place, self.producer[0], values)
        sent = Sent(place, values, sequence)
        self.in_flight.append(sent)
        return sent

    def _send(self, link: Link, sent: Sent) -> None:
        assert self.producer is not None
        now_ms = self.world.now_ms()
        batch = build_batch(
            ((now_ms, key_of(value) if self.keyed else None, value, ()) for value in sent.values),
            self.world.rng.choice((Codec.NONE, Codec.NONE, Codec.LZ4)),
            producer_id=self.producer[0],
            producer_epoch=self.producer[1],
            base_sequence=sent.sequence,
        )
        sent.answer = link.send(produce(sent.place, bytes(batch), -1), 9)

    async def _hear(self, sent: Sent) -> bool:
        """Take the answer of the oldest batch; False to connect again."""
        assert sent.answer is not None
        data: PartitionProduceResponse = (await sent.answer.wait()).responses[0].partition_responses[0]
        self.world.trace(self.name, sent.values[0], data.error_code, data.base_offset)
        if data.error_code:
            if not (self.world.storage_may_fail and data.error_code in STORAGE_ERRORS):
                self.world.complain("refused retry", f"{self.name} got {name_of(data.error_code)}")
                self.in_flight.popleft()
            return False
        self.world.history.ack(sent.place, data.base_offset, sent.values)
        self.in_flight.popleft()
        self.acked += 1
        return True


@attrs.define(eq=False, repr=False)
class PlainProducer(Client):
    """Sends each batch once, with acks=all or acks=1; some are damaged on their way."""

    world: World
    name: str
    places: list[Place]
    acks: tuple[int, ...] = (-1, -1, 1)
    may_be_gone: bool = False
    """Whether the topics may be deleted, and made again, while it writes."""
    sessions: int = 0

    async def session(self, link: Link) -> None:
        """One batch after the other."""
        rng, history = self.world.rng, self.world.history
        self.sessions += 1
        number = -self.sessions * 10 - int(self.name[-1])
        for _ in range(20):
            place, acks = rng.choice(self.places), rng.choice(self.acks)
            values = [self.world.new_value()]
            batch = build_batch([(self.world.now_ms(), None, values[0], ())])
            damaged = rng.random() < 0.1
            if damaged:
                batch[rng.randrange(17, len(batch))] ^= 1 << rng.randrange(8)
            sent_to = history.send(place, number, values)
            if sent_to.retained is not None:
                sent_to.retained.send(values, self.world.now_ms())
            response = await link.ask(produce(place, bytes(batch), acks), 9)
            data = response.responses[0].partition_responses[0]
            self.world.trace(self.name, data.error_code, data.base_offset)
            if self.may_be_gone and data.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                await self.world.pause()
            elif damaged:
                if data.error_code != ErrorCode.CORRUPT_MESSAGE:
                    self.world.complain("damage accepted", f"{self.name} got {data.error_code} for a damaged batch")
                history.refuse(place, values)
            elif data.error_code:
                expect_storage_error(self.world, self.name, data.error_code)
                return
            elif acks == -1:
                history.ack(place, data.base_offset, values, sent_to)
            await self.world.pause()


@attrs.define(eq=False, repr=False)
class Consumer(Client):
    """Reads partitions from their beginning, for ever, and notes every record it gets."""

    world: World
    name: str
    positions: dict[Place, int]
    whole: set[Place] = attrs.field(factory=set)
    """What it has read from the beginning."""

    async def session(self, link: Link) -> None:
        """Fetch after fetch."""
        while True:
            places = [place for place in self.positions if self.world.rng.random() < 0.8]
            request = FetchRequest(
                max_wait_ms=self.world.rng.choice((0, 5)),
                min_bytes=1,
                max_bytes=self.world.rng.choice((200, 100_000)),
                topics=[
                    FetchTopic(
                        topic=topic,
                        partitions=[
                            FetchPartition(
                                partition=index, fetch_offset=self.positions[topic, index], partition_max_bytes=1000
                            )
                        ],
                    )
                    for topic, index in places
                ],
            )
            for place in places:
                history = self.world.history.place(place)
                if self.name not in history.polls:
                    self.world.history.seek(self.name, place, self.positions[place])
                    self.whole.add(place)
            response = await link.ask(request, 12)
            for place, topic in zip(places, response.responses, strict=True):
                self._take(place, topic.partitions[0])
            await self.world.pause()

    def _take(self, place: Place, data: object) -> None:
        history, position = self.world.history, self.positions[place]
        code = data.error_code  # type: ignore[attr-defined]
        if code == ErrorCode.OFFSET_OUT_OF_RANGE and position < history.place(place).deletions:
            self.positions[place] = history.place(place).deletions
            history.seek(self.name, place, self.positions[place])
            return
        if code:
            if not (self.world.storage_may_fail and code in STORAGE_ERRORS):
                self.world.complain("fetch refused", f"{place} at {position}: {name_of(code)}")
            return
        for header, batch in iter_batches(memoryview(data.records or b"")):  # type: ignore[attr-defined]
            try:
                verify_crc(batch)
                records = read_records(batch, max_bytes=1 << 20)
            except CorruptMessage as error:
                self.world.complain("damage served", f"{place} at {header.base_offset}: {error}")
                return
            for record in records:
                if record.offset >= self.positions[place]:
                    history.poll(self.name, place, record.offset, record.value or b"")
                    self.positions[place] = record.offset + 1
        self.world.trace(self.name, place, self.positions[place])
        if place in self.whole and self.positions[place] == data.high_watermark:  # type: ignore[attr-defined]
            history.reach_end(self.name, place, self.positions[place])


@attrs.define(eq=False, repr=False)
class Administrator(Client):
    """Makes topics, writes a record into each, removes some, and deletes records of a partition."""

    world: World
    name: str
    place: Place
    """Where records are deleted."""
    made: int = 0
    live: list[str] = attrs.field(factory=list)
    making: str = ""
    """Begun, and not answered; goes before anything else."""
    removing: str = ""

    async def session(self, link: Link) -> None:
        """One thing after the other."""
        while True:
            if self.making:
                await self._create(link, self.making)
            if self.removing:
                await self._delete(link, self.removing)
            action = self.world.rng.random()
            if action < 0.4:
                self.made += 1
                await self._create(link, f"v{self.made}")
            elif action < 0.6 and self.live:
                await self._delete(link, self.world.rng.choice(self.live))
            elif action < 0.8:
                await self._delete_records(link)
            else:
                await self._list(link)
            for _ in range(3):
                await self.world.pause()

    async def _create(self, link: Link, name: str) -> None:
        history, self.making = self.world.history, name
        history.expect_topic(name, None)
        topic = CreatableTopic(name=name, num_partitions=1, replication_factor=1)
        result = (await link.ask(CreateTopicsRequest(topics=[topic]), 5)).topics[0]
        self.world.trace(self.name, name, result.error_code)
        if result.error_code not in (0, ErrorCode.TOPIC_ALREADY_EXISTS):
            expect_storage_error(self.world, self.name, result.error_code)
            raise Lost
        history.expect_topic(name, True)
        self.making = ""
        self.live.append(name)
        place, values = (name, 0), [self.world.new_value()]
        history.send(place, 0, values)
        batch = build_batch([(self.world.now_ms(), None, values[0], ())])
        data = (await link.ask(produce(place, bytes(batch), -1), 9)).responses[0].partition_responses[0]
        if data.error_code:
            expect_storage_error(self.world, self.name, data.error_code)
        else:
            history.ack(place, data.base_offset, values)

    async def _delete(self, link: Link, name: str) -> None:
        self.removing = name
        self.world.history.expect_topic(name, None)
        result = (await link.ask(DeleteTopicsRequest(topics=[DeleteTopicState(name=name)]), 6)).responses[0]
        self.world.trace(self.name, "delete", name, result.error_code)
        if result.error_code not in (0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION):
            expect_storage_error(self.world, self.name, result.error_code)
            raise Lost
        self.world.history.expect_topic(name, False)
        self.removing = ""
        self.live.remove(name)

    async def _delete_records(self, link: Link) -> None:
        history, (topic, index) = self.world.history, self.place
        known = max((*history.place(self.place).polled, -1)) + 1
        offset = self.world.rng.randint(0, known)
        history.delete_records(self.place, offset, acked=False)
        partition = DeleteRecordsPartition(partition_index=index, offset=offset)
        request = DeleteRecordsRequest(topics=[DeleteRecordsTopic(name=topic, partitions=[partition])], timeout_ms=1000)
        result = (await link.ask(request, 2)).topics[0].partitions[0]
        self.world.trace(self.name, "delete records", offset, result.error_code)
        if result.error_code:
            expect_storage_error(self.world, self.name, result.error_code)
        else:
            history.delete_records(self.place, offset, acked=True)

    async def _list(self, link: Link) -> None:
        response = await link.ask(MetadataRequest(topics=None), 9)
        listed = {topic.name for topic in response.topics}
        for name, exists in self.world.history.topics.items():
            if exists is not None and exists != (name in listed):
                self.world.complain("topic lost", f"{name} is {'not ' * exists}listed")


def expect_storage_error(world: World, name: str, code: int) -> None:
    """Complain of an error that is none of a disk that fails."""
    if code and not (world.storage_may_fail and code in STORAGE_ERRORS):
        world.complain("unexpected error", f"{name} got {name_of(code)}")
