"""The requests that most tests need, about one topic and one partition."""

from __future__ import annotations

from uuid import UUID

from minibroker.protocol.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from minibroker.protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic, PartitionData
from minibroker.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from minibroker.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponseTopic
from minibroker.protocol.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    TopicProduceData,
)
from minibroker.records.batch import iter_batches
from minibroker.records.builder import build_batch
from minibroker.records.compression import Codec
from minibroker.records.record import Record, read_records
from tests.traps.wire import Wire

NOW_MS = 1_700_000_000_000
NO_ID = UUID(int=0)


def create(wire: Wire, topic: str, *, partitions: int = 1, **configs: str) -> int:
    """Make a topic and return the error code; settings are given with underscores for dots."""
    settings = [CreatableTopicConfig(name=name.replace("_", "."), value=value) for name, value in configs.items()]
    wanted = CreatableTopic(name=topic, num_partitions=partitions, replication_factor=1, configs=settings)
    (result,) = wire.ask(CreateTopicsRequest(topics=[wanted], timeout_ms=1000), 7).topics
    return int(result.error_code)


def describe(wire: Wire, topic: str, version: int = 12, *, auto_create: bool = False) -> MetadataResponseTopic:
    """What Metadata says of a topic."""
    request = MetadataRequest(topics=[MetadataRequestTopic(name=topic)], allow_auto_topic_creation=auto_create)
    (found,) = wire.ask(request, version).topics
    return found


def batch(
    *values: bytes | None,
    key: bytes | None = b"k",
    codec: Codec = Codec.NONE,
    first_ms: int = NOW_MS,
    producer: tuple[int, int, int] = (-1, -1, -1),
) -> bytearray:
    """A record batch, one millisecond from record to record; `producer` is id, epoch and base sequence."""
    producer_id, producer_epoch, base_sequence = producer
    return build_batch(
        ((first_ms + index, key, value, ()) for index, value in enumerate(values)),
        codec=codec,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )


def produce_request(
    topic: str, records: bytes | bytearray | None, *, acks: int = -1, partition: int = 0
) -> ProduceRequest:
    data = PartitionProduceData(index=partition, records=records)
    return ProduceRequest(acks=acks, timeout_ms=1000, topic_data=[TopicProduceData(name=topic, partition_data=[data])])


def produce(
    wire: Wire, topic: str, records: bytes | bytearray | None, *, acks: int = -1, version: int = 9, partition: int = 0
) -> PartitionProduceResponse:
    """Produce to one partition and return its part of the answer."""
    response = wire.ask(produce_request(topic, records, acks=acks, partition=partition), version)
    (answer,) = response.responses[0].partition_responses
    return answer


def fetch_request(
    topic: str,
    offset: int,
    *,
    partition: int = 0,
    topic_id: UUID = NO_ID,
    max_bytes: int = 1 << 20,
    partition_max_bytes: int = 1 << 20,
    min_bytes: int = 0,
    max_wait_ms: int = 0,
    **more: int,
) -> FetchRequest:
    wanted = FetchPartition(partition=partition, fetch_offset=offset, partition_max_bytes=partition_max_bytes)
    return FetchRequest(
        max_bytes=max_bytes,
        min_bytes=min_bytes,
        max_wait_ms=max_wait_ms,
        topics=[FetchTopic(topic=topic, topic_id=topic_id, partitions=[wanted])],
        **more,
    )


def fetch(wire: Wire, request: FetchRequest, version: int = 11) -> PartitionData:
    """Fetch one partition and return its part of the answer."""
    (answer,) = wire.ask(request, version).responses[0].partitions
    return answer


def records_of(data: PartitionData) -> list[Record]:
    """The records in a part of a fetch answer."""
    found: list[Record] = []
    for _, whole in iter_batches(memoryview(data.records or b"")):
        found += read_records(whole, max_bytes=1 << 26)
    return found


def values(wire: Wire, topic: str, offset: int = 0) -> list[bytes | None]:
    """The values of all records from an offset on."""
    return [record.value for record in records_of(fetch(wire, fetch_request(topic, offset))) if record.offset >= offset]


def offset_at(wire: Wire, topic: str, timestamp: int, version: int = 7) -> ListOffsetsPartitionResponse:
    """What ListOffsets finds."""
    wanted = ListOffsetsTopic(name=topic, partitions=[ListOffsetsPartition(partition_index=0, timestamp=timestamp)])
    (answer,) = wire.ask(ListOffsetsRequest(replica_id=-1, topics=[wanted]), version).topics[0].partitions
    return answer
