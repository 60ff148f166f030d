"""Scripted brokers over memory streams: enough of Kafka to drive the client, and faults on demand.

Each broker answers the requests of a connection in order, as Kafka does. A test replaces a handler, or queues faults
for an API; time is the test's (`autojump_clock`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import attrs
import trio
import trio.testing

from minibroker.client.address import Address
from minibroker.client.transport import Buffer
from minibroker.protocol.api import ApiKey, request_class
from minibroker.protocol.codec import decode
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.framing import decode_request_header, encode_response
from minibroker.protocol.messages.api_versions import ApiVersion, ApiVersionsResponse
from minibroker.protocol.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from minibroker.protocol.messages.find_coordinator import Coordinator, FindCoordinatorResponse
from minibroker.protocol.messages.init_producer_id import InitProducerIdResponse
from minibroker.protocol.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from minibroker.protocol.messages.metadata import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from minibroker.protocol.messages.offset_commit import (
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from minibroker.protocol.messages.offset_fetch import (
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponseTopic,
)
from minibroker.protocol.messages.produce import PartitionProduceResponse, ProduceResponse, TopicProduceResponse
from minibroker.records.batch import assign, decode_header, iter_batches, verify_crc
from minibroker.records.record import Record, read_records

VERSIONS = {key: (key.min_version, key.max_version) for key in ApiKey}


class Disconnect(Exception):
    """Raised by a handler: the broker closes the connection instead of answering."""


@attrs.define(eq=False)
class StreamTransport:
    """Any Trio stream, in place of a socket."""

    _stream: trio.abc.Stream

    def send_some(self, buffers: deque[Buffer]) -> None:
        """A stream cannot send without waiting: everything stays."""

    async def send_all(self, buffers: deque[Buffer]) -> None:
        """Gather, waiting for room."""
        while buffers:
            await self._stream.send_all(buffers.popleft())

    async def receive_into(self, view: memoryview) -> int:
        """Receive what is there, or wait."""
        received = await self._stream.receive_some(len(view))
        view[: len(received)] = received
        return len(received)

    async def aclose(self) -> None:
        """Close at once."""
        await trio.aclose_forcefully(self._stream)


@attrs.define(eq=False)
class FakePartition:
    """One log, with Kafka's checks of sequence numbers."""

    leader: int = 1
    leader_epoch: int = 0
    batches: list[memoryview] = attrs.Factory(list)
    start: int = 0
    end: int = 0
    most_batches: int = 1_000_000
    """How many a fetch brings at most."""
    _recent: dict[int, deque[tuple[int, int, int, int]]] = attrs.Factory(dict)
    """Producer id → (epoch, first sequence, last sequence, base offset) of its last five batches."""

    def append(self, data: Any) -> tuple[ErrorCode, int]:
        """Error and base offset."""
        batch = memoryview(bytearray(data))
        header = decode_header(batch)
        verify_crc(batch)
        if header.producer_id >= 0:
            recent = self._recent.setdefault(header.producer_id, deque(maxlen=5))
            for epoch, first, last, offset in recent:
                if (epoch, first, last) == (header.producer_epoch, header.base_sequence, header.last_sequence):
                    return ErrorCode.NONE, offset
            if recent:
                epoch, _, last, _ = recent[-1]
                if header.producer_epoch < epoch:
                    return ErrorCode.INVALID_PRODUCER_EPOCH, -1
                expected = last + 1 if header.producer_epoch == epoch else 0
                if header.base_sequence != expected:
                    return ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1
            recent.append((header.producer_epoch, header.base_sequence, header.last_sequence, self.end))
        base_offset = self.end
        assign(batch, base_offset, self.leader_epoch)
        self.batches.append(batch)
        self.end += header.record_count
        return ErrorCode.NONE, base_offset

    def forget_producers(self) -> None:
        """What retention does to a broker's memory."""
        self._recent.clear()

    def records(self) -> list[Record]:
        """Everything in the log."""
        return [record for batch in self.batches for record in read_records(batch, max_bytes=1 << 30)]

    def read(self, offset: int) -> bytes:
        """The batches from the one that holds `offset` on."""
        wanted = [batch for batch in self.batches for header, _ in iter_batches(batch) if header.next_offset > offset]
        return b"".join(wanted[: self.most_batches])


Handler = Callable[[int, Any, int], Any]
"""(node id, request, version) → response, None for none, or an awaitable of these."""

Fault = Callable[[Any, Callable[[], Any]], Any]
"""(request, answer it properly) → response; may raise Disconnect."""


def disconnect_before(request: Any, proceed: Callable[[], Any]) -> Any:
    """The request is lost."""
    raise Disconnect


def disconnect_after(request: Any, proceed: Callable[[], Any]) -> Any:
    """The request is carried out, its response is lost."""
    proceed()
    raise Disconnect


@attrs.define(eq=False)
class FakeCluster:
    """`connect` is given to a client; the nursery runs the brokers' connections."""

    nursery: trio.Nursery
    addresses: dict[int, Address] = attrs.Factory(lambda: {1: Address("one", 9092)})
    down: set[int] = attrs.Factory(set)
    topics: dict[str, list[FakePartition]] = attrs.Factory(dict)
    topic_ids: dict[str, UUID] = attrs.Factory(dict)
    committed: dict[tuple[str, int], int] = attrs.Factory(dict)
    versions: dict[ApiKey, tuple[int, int]] = attrs.Factory(lambda: dict(VERSIONS))
    handlers: dict[ApiKey, Handler] = attrs.Factory(dict)
    faults: dict[ApiKey, deque[Fault | None]] = attrs.Factory(dict)
    """Of each API the next requests' faults; None is none."""
    seen: list[tuple[int, ApiKey, int, Any]] = attrs.Factory(list)
    """(node id, API, version, request) of everything that came."""
    auto_create: int = 0
    """With how many partitions unknown topics are created; 0: they are not."""
    _streams: dict[int, list[trio.StapledStream[Any, Any]]] = attrs.Factory(dict)
    _next_producer_id: int = 1000
    _appended: trio.Event = attrs.Factory(trio.Event)

    def __attrs_post_init__(self) -> None:
        self.handlers = {
            ApiKey.API_VERSIONS: self._api_versions,
            ApiKey.METADATA: self._metadata,
            ApiKey.INIT_PRODUCER_ID: self._init_producer_id,
            ApiKey.PRODUCE: self._produce,
            ApiKey.FETCH: self._fetch,
            ApiKey.LIST_OFFSETS: self._list_offsets,
            ApiKey.FIND_COORDINATOR: self._find_coordinator,
            ApiKey.OFFSET_COMMIT: self._offset_commit,
            ApiKey.OFFSET_FETCH: self._offset_fetch,
            **self.handlers,
        }

    @property
    def bootstrap(self) -> str:
        """For a client's `bootstrap`."""
        return str(self.addresses[min(self.addresses)])

    def add_topic(self, name: str, partitions: int = 1, leaders: list[int] | None = None) -> list[FakePartition]:
        """A topic, led by `leaders` in turn."""
        leaders = leaders or [min(self.addresses)]
        self.topics[name] = [FakePartition(leaders[index % len(leaders)]) for index in range(partitions)]
        self.topic_ids[name] = UUID(int=len(self.topic_ids) + 1000 * len(self.seen) + 1)
        return self.topics[name]

    def fault(self, api: ApiKey, *faults: Fault | None) -> None:
        """Have the next requests of an API go wrong."""
        self.faults.setdefault(api, deque()).extend(faults)

    def requests(self, api: ApiKey) -> list[Any]:
        """All requests of an API so far."""
        return [request for _, key, _, request in self.seen if key is api]

    def stop_node(self, node_id: int) -> None:
        """Break its connections, refuse new ones."""
        self.down.add(node_id)
        for stream in self._streams.pop(node_id, []):
            stream.send_stream.close()
            stream.receive_stream.close()

    # Connections.

    async def connect(self, address: Address) -> StreamTransport:
        """What a client calls to connect."""
        await trio.lowlevel.checkpoint()
        nodes = {address: node_id for node_id, address in self.addresses.items()}
        if address not in nodes or nodes[address] in self.down:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        self._streams.setdefault(nodes[address], []).append(ours)
        self.nursery.start_soon(self._serve, nodes[address], ours)
        return StreamTransport(theirs)

    async def _serve(self, node_id: int, stream: trio.abc.Stream) -> None:
        buffer = bytearray()
        try:
            while True:
                while len(buffer) < 4 or len(buffer) < 4 + int.from_bytes(buffer[:4], "big"):
                    data = await stream.receive_some(65536)
                    if not data:
                        return
                    buffer += data
                size = 4 + int.from_bytes(buffer[:4], "big")
                frame = memoryview(bytes(buffer[4:size]))
                del buffer[:size]
                for part in await self._answer(node_id, frame):
                    await stream.send_all(part)
        except (Disconnect, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _answer(self, node_id: int, frame: memoryview) -> list[Any]:
        header, position = decode_request_header(frame)
        key, version = ApiKey(header.api_key), header.api_version
        lowest, highest = self.versions[key]
        if key is ApiKey.API_VERSIONS and version > highest:
            refusal = ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=self._api_keys())
            return encode_response(header.correlation_id, key, 0, refusal)
        assert lowest <= version <= highest, f"{key.name} v{version} is not served"
        request, _ = decode(request_class(key), version, frame, position)
        self.seen.append((node_id, key, version, request))
        faults = self.faults.get(key)
        fault = faults.popleft() if faults else None

        def proceed() -> Any:
            return self.handlers[key](node_id, request, version)

        response = proceed() if fault is None else fault(request, proceed)
        if isinstance(response, Awaitable):
            response = await response
        return [] if response is None else encode_response(header.correlation_id, key, version, response)

    # Handlers.

    def _api_keys(self) -> list[ApiVersion]:
        return [
            ApiVersion(api_key=key, min_version=low, max_version=high) for key, (low, high) in self.versions.items()
        ]

    def _api_versions(self, node_id: int, request: Any, version: int) -> Any:
        return ApiVersionsResponse(api_keys=self._api_keys())

    def _metadata(self, node_id: int, request: Any, version: int) -> Any:
        names = list(self.topics) if request.topics is None else [topic.name for topic in request.topics]
        for name in names:
            if name not in self.topics and self.auto_create and request.allow_auto_topic_creation:
                self.add_topic(name, self.auto_create)
        return MetadataResponse(
            cluster_id="fake",
            controller_id=min(self.addresses),
            brokers=[
                MetadataResponseBroker(node_id=node, host=address.host, port=address.port)
                for node, address in self.addresses.items()
            ],
            topics=[self._describe(name) for name in names],
        )

    def _describe(self, name: str) -> MetadataResponseTopic:
        if name not in self.topics:
            return MetadataResponseTopic(error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, name=name)
        partitions = [
            MetadataResponsePartition(partition_index=index, leader_id=log.leader, leader_epoch=log.leader_epoch)
            for index, log in enumerate(self.topics[name])
        ]
        return MetadataResponseTopic(name=name, topic_id=self.topic_ids[name], partitions=partitions)

    def _init_producer_id(self, node_id: int, request: Any, version: int) -> Any:
        self._next_producer_id += 1
        return InitProducerIdResponse(producer_id=self._next_producer_id, producer_epoch=0)

    def _name(self, topic: Any, name: str) -> str:
        ids = {topic_id: known for known, topic_id in self.topic_ids.items() if known in self.topics}
        return name or ids.get(topic.topic_id, "")

    def _produce(self, node_id: int, request: Any, version: int) -> Any:
        answers = []
        for topic in request.topic_data:
            name = self._name(topic, topic.name)
            partitions = []
            for data in topic.partition_data:
                log = self.topics[name][data.index] if name in self.topics else None
                code, offset = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1
                if log is not None:
                    wrong = log.leader != node_id
                    code, offset = (ErrorCode.NOT_LEADER_OR_FOLLOWER, -1) if wrong else log.append(data.records)
                partitions.append(PartitionProduceResponse(index=data.index, error_code=code, base_offset=offset))
            answer = TopicProduceResponse(name=topic.name, topic_id=topic.topic_id, partition_responses=partitions)
            answers.append(answer)
        self.notify()
        return ProduceResponse(responses=answers) if request.acks else None

    def notify(self) -> None:
        """Wake the long polls: something was appended."""
        self._appended.set()
        self._appended = trio.Event()

    async def wait_appended(self) -> None:
        """Wait for the next Produce request to have been carried out."""
        await self._appended.wait()

    async def _fetch(self, node_id: int, request: Any, version: int) -> Any:
        with trio.move_on_after(request.max_wait_ms / 1000):
            while True:
                response, ready = self._read(node_id, request)
                if ready:
                    return response
                await self._appended.wait()
        return self._read(node_id, request)[0]

    def _read(self, node_id: int, request: Any) -> tuple[FetchResponse, bool]:
        answers, ready = [], False
        for topic in request.topics:
            name = self._name(topic, topic.topic)
            partitions = []
            for wanted in topic.partitions:
                answer = PartitionData(partition_index=wanted.partition, records=b"", high_watermark=-1)
                if name not in self.topics:
                    answer.error_code = ErrorCode.UNKNOWN_TOPIC_ID
                elif (log := self.topics[name][wanted.partition]).leader != node_id:
                    answer.error_code = ErrorCode.NOT_LEADER_OR_FOLLOWER
                elif not log.start <= wanted.fetch_offset <= log.end:
                    answer.error_code = ErrorCode.OFFSET_OUT_OF_RANGE
                else:
                    answer.records = log.read(wanted.fetch_offset)
                    answer.high_watermark = answer.last_stable_offset = log.end
                ready = ready or bool(answer.error_code or answer.records)
                partitions.append(answer)
            answer_topic = FetchableTopicResponse(topic=topic.topic, topic_id=topic.topic_id, partitions=partitions)
            answers.append(answer_topic)
        return FetchResponse(responses=answers), ready

    def _list_offsets(self, node_id: int, request: Any, version: int) -> Any:
        topics = []
        for topic in request.topics:
            partitions = []
            for wanted in topic.partitions:
                answer = ListOffsetsPartitionResponse(partition_index=wanted.partition_index)
                if topic.name not in self.topics or self.topics[topic.name][wanted.partition_index].leader != node_id:
                    answer.error_code = ErrorCode.NOT_LEADER_OR_FOLLOWER
                else:
                    log = self.topics[topic.name][wanted.partition_index]
                    answer.offset, answer.timestamp = self._offset_for(log, wanted.timestamp)
                partitions.append(answer)
            topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=partitions))
        return ListOffsetsResponse(topics=topics)

    def _offset_for(self, log: FakePartition, timestamp: int) -> tuple[int, int]:
        if timestamp == -1:
            return log.end, -1
        if timestamp == -2:
            return log.start, -1
        later = (record for record in log.records() if record.timestamp_ms >= timestamp)
        return next(((record.offset, record.timestamp_ms) for record in later), (-1, -1))

    def _find_coordinator(self, node_id: int, request: Any, version: int) -> Any:
        coordinator = min(self.addresses)
        address = self.addresses[coordinator]
        if version < 4:
            return FindCoordinatorResponse(node_id=coordinator, host=address.host, port=address.port)
        one = Coordinator(key=request.coordinator_keys[0], node_id=coordinator, host=address.host, port=address.port)
        return FindCoordinatorResponse(coordinators=[one])

    def _offset_commit(self, node_id: int, request: Any, version: int) -> Any:
        topics = []
        for topic in request.topics:
            name = self._name(topic, topic.name)
            for wanted in topic.partitions:
                self.committed[name, wanted.partition_index] = wanted.committed_offset
            partitions = [
                OffsetCommitResponsePartition(partition_index=wanted.partition_index) for wanted in topic.partitions
            ]
            topics.append(OffsetCommitResponseTopic(name=topic.name, topic_id=topic.topic_id, partitions=partitions))
        return OffsetCommitResponse(topics=topics)

    def _offset_fetch(self, node_id: int, request: Any, version: int) -> Any:
        (group,) = request.groups
        topics: dict[str, OffsetFetchResponseTopic] = {}
        for (name, index), offset in self.committed.items():
            topic = topics.setdefault(name, OffsetFetchResponseTopic(name=name))
            topic.partitions.append(
                OffsetFetchResponsePartition(partition_index=index, committed_offset=offset, metadata="")
            )
        answer = OffsetFetchResponseGroup(group_id=group.group_id, topics=list(topics.values()))
        return OffsetFetchResponse(groups=[answer])
