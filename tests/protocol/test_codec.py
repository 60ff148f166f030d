"""The rules of encoding and decoding, each on the smallest message that shows it."""

# ruff: noqa: RUF009  (the calls in class bodies make attrs fields)

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from random import Random
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibroker.protocol.codec import decode, decode_message, encode
from minibroker.protocol.decoder import compile_decoder
from minibroker.protocol.encoder import compile_encoder
from minibroker.protocol.errors import ProtocolError
from minibroker.protocol.messages.create_topics import CreateTopicsRequest
from minibroker.protocol.messages.delete_groups import DeletableGroupResult, DeleteGroupsResponse
from minibroker.protocol.messages.describe_topic_partitions import Cursor, DescribeTopicPartitionsRequest
from minibroker.protocol.messages.fetch import EpochEndOffset, FetchableTopicResponse, FetchResponse, PartitionData
from minibroker.protocol.messages.heartbeat import HeartbeatRequest
from minibroker.protocol.messages.list_groups import ListGroupsRequest
from minibroker.protocol.messages.metadata import MetadataRequest, MetadataRequestTopic
from minibroker.protocol.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup
from minibroker.protocol.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)
from minibroker.protocol.primitives import uvarint
from minibroker.protocol.schema import array, boolean, float64, int32, int64, string, struct
from tests.protocol.instances import all_versions, make


def wire(message: Any, version: int) -> bytes:
    return b"".join(encode(message, version))


def produce(records: Any) -> ProduceRequest:
    partition = PartitionProduceData(index=1, records=records)
    return ProduceRequest(acks=-1, topic_data=[TopicProduceData(name="t", partition_data=[partition])])


# What a version lacks


def test_ignorable_field_is_dropped_by_a_version_without_it() -> None:
    """Kafka's rule: an ignorable field may be lost on the way to an old version."""
    request = MetadataRequest(topics=[MetadataRequestTopic(topic_id=UUID(int=1), name="t")])
    assert decode_message(MetadataRequest, 4, memoryview(wire(request, 4))).topics == [MetadataRequestTopic(name="t")]


@pytest.mark.parametrize(
    ("message", "version", "field"),
    [
        (MetadataRequest(allow_auto_topic_creation=False), 3, "allow_auto_topic_creation"),
        (HeartbeatRequest(group_instance_id="me"), 2, "group_instance_id"),
        (ListGroupsRequest(states_filter=["Stable"]), 3, "states_filter"),
        (OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id="g")]), 7, "groups"),
    ],
)
def test_other_field_is_an_error_in_a_version_without_it(message: Any, version: int, field: str) -> None:
    """Kafka's rule: what must not be lost raises, unless it holds its default."""
    with pytest.raises(ValueError, match=field):
        encode(message, version)
    assert encode(message, version + 1)
    encode(type(message)(), version)


def test_null_is_an_error_in_a_version_without_it() -> None:
    """Metadata v0 has no null for "all topics"; from v1 on it has."""
    with pytest.raises(ValueError, match="topics cannot be null in version 0"):
        encode(MetadataRequest(topics=None), 0)
    assert wire(MetadataRequest(topics=None), 1) == b"\xff\xff\xff\xff"


def test_unknown_version_is_an_error() -> None:
    """A version that no schema has raises ValueError: it is the caller who chose it."""
    for version in (-1, 14):
        with pytest.raises(ValueError, match=f"ProduceRequest has no version {version}"):
            encode(ProduceRequest(), version)
        with pytest.raises(ValueError, match=f"ProduceRequest has no version {version}"):
            decode(ProduceRequest, version, memoryview(b""))


def test_produce_before_record_batches_is_readable() -> None:
    """Versions 0 to 2, without a transactional id, and 0 and 1 of the answer without the newer times."""
    body = b"\xff\xff" + (1000).to_bytes(4, "big") + b"\0\0\0\1" + b"\0\1t" + b"\0\0\0\1" + b"\0\0\0\7\0\0\0\3abc"
    for version in (0, 1, 2):
        request = decode_message(ProduceRequest, version, memoryview(body))
        assert (request.acks, request.timeout_ms, request.topic_data[0].name) == (-1, 1000, "t")
        assert request.topic_data[0].partition_data == [PartitionProduceData(index=7, records=b"abc")]
    partition = PartitionProduceResponse(index=7, error_code=35, base_offset=-1)
    response = ProduceResponse(responses=[TopicProduceResponse(name="t", partition_responses=[partition])])
    body = b"\0\0\0\1\0\1t\0\0\0\1" + b"\0\0\0\7\0\x23" + b"\xff" * 8
    assert wire(response, 0) == body
    assert wire(response, 1) == body + bytes(4)
    assert wire(response, 2) == body + b"\xff" * 8 + bytes(4)


@pytest.mark.parametrize("version", [0, 4])
def test_string_that_is_too_long_is_an_error(version: int) -> None:
    """No version takes a string that Kafka could not read back."""
    assert encode(HeartbeatRequest(group_id="x" * 32767), version)
    with pytest.raises(ValueError, match="32767"):
        encode(HeartbeatRequest(group_id="x" * 32768), version)


def test_a_string_longer_than_kafka_reads_is_refused() -> None:
    """A compact length could say more: it would be kept, quoted in answers and written to the log."""
    for size in (32767, 32768):
        body = uvarint(size + 1) + b"x" * size + bytes(4) + b"\x01\0\0"
        if size == 32767:
            assert len(decode_message(HeartbeatRequest, 4, memoryview(body)).group_id) == size
        else:
            with pytest.raises(ProtocolError, match=r"HeartbeatRequest.group_id: length 32768"):
                decode_message(HeartbeatRequest, 4, memoryview(body))


def test_number_that_is_too_large_is_an_error() -> None:
    """A number beyond its type raises ValueError, not an error of the struct module."""
    with pytest.raises(ValueError, match="HeartbeatRequest v0"):
        encode(HeartbeatRequest(generation_id=1 << 31), 0)


# Records


class Range:
    """Stands for a part of a file."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes


def flatten(parts: list[Any]) -> bytes:
    return b"".join([bytes(part.size_bytes) if isinstance(part, Range) else part for part in parts])


@pytest.mark.parametrize("version", [3, 9])
def test_records_are_gathered_uncopied(version: int) -> None:
    """Whatever bytes-like object holds the records, that very object is in the list."""
    for records in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        parts = encode(produce(records), version)
        assert any(part is records for part in parts)
        decoded = decode_message(ProduceRequest, version, memoryview(b"".join(parts)))
        assert decoded.topic_data[0].partition_data[0].records == b"abc"


@pytest.mark.parametrize("version", [4, 12])
def test_file_ranges_and_lists_are_records(version: int) -> None:
    """Ranges of files, alone or between buffers, go into the list by reference and count with their size."""

    def response(records: Any) -> FetchResponse:
        return FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=[PartitionData(records=records)])])

    first, second = Range(3), Range(2)
    for pieces in ([first], [first, b"xy", second], [b"ab", b""]):
        parts = encode(response(pieces), version)
        assert [part for part in parts if part in pieces] == pieces
        assert flatten(parts) == wire(response(flatten(pieces)), version)
    assert encode(response(first), version)[1] is first
    assert wire(response([]), version) == wire(response(b""), version) == wire(response(Range(0)), version)


@pytest.mark.parametrize("version", [3, 9])
def test_decoded_records_are_a_view_of_the_frame(version: int) -> None:
    """Records are not copied out of the buffer they arrived in, which may be patched through them."""
    frame = bytearray(wire(produce(b"abc"), version))
    records = decode_message(ProduceRequest, version, memoryview(frame)).topic_data[0].partition_data[0].records
    assert isinstance(records, memoryview)
    records[0] = ord("A")
    assert b"Abc" in frame


@pytest.mark.parametrize("version", [3, 9])
def test_no_records_and_empty_records_differ(version: int) -> None:
    """Null and empty are two things on the wire."""
    for records in (None, b""):
        decoded = decode_message(ProduceRequest, version, memoryview(wire(produce(records), version)))
        assert decoded.topic_data[0].partition_data[0].records == records


# Tagged fields (KIP-482)


@attrs.define(kw_only=True)
class Inner:
    number: int = int32(default=-1)


@attrs.define(kw_only=True)
class OldItem:
    name: str = string()


@attrs.define(kw_only=True)
class Old:
    items: list[OldItem] = array(OldItem)
    flag: bool = boolean(tag=3)
    ratio: float = float64()


@attrs.define(kw_only=True)
class NewItem:
    name: str = string()
    extra: str = string(tag=200)
    inner: Inner | None = struct(Inner, tag=0)


@attrs.define(kw_only=True)
class New:
    items: list[NewItem] = array(NewItem)
    first: int = int64(tag=1)
    flag: bool = boolean(tag=3)
    numbers: list[int] = array(int32, tag=300)
    ratio: float = float64()


def test_unknown_tagged_fields_are_skipped() -> None:
    """A reader that knows fewer tags reads the same message, at every depth."""
    new = New(
        items=[NewItem(name="a", extra="x" * 500, inner=Inner(number=7)), NewItem(name="b")],
        first=-5,
        flag=True,
        numbers=[1, 2, 3],
        ratio=0.5,
    )
    out = bytearray()
    compile_encoder(New, 0, True)(new, out, [out])
    assert compile_decoder(New, 0, True)(memoryview(out), 0, 100) == (new, len(out))
    old = Old(items=[OldItem(name="a"), OldItem(name="b")], flag=True, ratio=0.5)
    assert compile_decoder(Old, 0, True)(memoryview(out), 0, 100) == (old, len(out))


def test_tagged_fields_at_their_default_are_left_out() -> None:
    """Neither an absent struct nor one full of defaults is written."""
    for inner in (None, Inner(), Inner(number=-1)):
        out = bytearray()
        compile_encoder(NewItem, 0, True)(NewItem(name="a", inner=inner), out, [out])
        assert out == b"\x02a\x00"


def test_tagged_field_of_another_size_is_a_protocol_error() -> None:
    """The size that a known tag claims must be the size of its value."""
    for size in (0, 1, 4, 6, 127):  # the struct takes 5
        data = b"\x02a" + b"\x01" + b"\x00" + uvarint(size) + b"\x00\x00\x00\x07\x00" + bytes(size)
        with pytest.raises(ProtocolError):
            compile_decoder(NewItem, 0, True)(memoryview(data), 0, 100)


def test_partition_with_a_diverging_epoch_survives() -> None:
    """The tagged structs of a fetched partition come back as they were, the others as None."""
    partition = PartitionData(diverging_epoch=EpochEndOffset(epoch=3, end_offset=9), records=b"")
    response = FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=[partition])])
    assert decode_message(FetchResponse, 12, memoryview(wire(response, 12))) == response


# Booleans, nulls


def test_any_byte_but_zero_is_true() -> None:
    """Kafka's readers take every byte but 0 as true."""
    data = bytearray(wire(CreateTopicsRequest(validate_only=True), 2))
    for byte in (1, 2, 127, 128, 255):
        data[-1] = byte
        assert decode_message(CreateTopicsRequest, 2, memoryview(data)).validate_only is True


def test_nullable_struct_has_a_marker() -> None:
    """A cursor is preceded by 1, its absence is -1."""
    for cursor in (None, Cursor(topic_name="t", partition_index=4)):
        request = DescribeTopicPartitionsRequest(cursor=cursor)
        data = wire(request, 0)
        assert data[5] == (255 if cursor is None else 1)
        assert decode_message(DescribeTopicPartitionsRequest, 0, memoryview(data)) == request


@pytest.mark.parametrize(
    ("cls", "version", "data"),
    [
        (HeartbeatRequest, 0, b"\xff\xff" + bytes(6)),  # a null group id
        (HeartbeatRequest, 4, b"\x00" + bytes(8)),
        (ListGroupsRequest, 4, b"\x00\x00"),  # a null array
        (MetadataRequest, 0, b"\xff\xff\xff\xff"),
        (HeartbeatRequest, 0, b"\x00\x01\xff" + bytes(6)),  # not UTF-8
        (HeartbeatRequest, 4, b"\x81\x80\x80\x80\x80\x00" + bytes(8)),  # a varint of six bytes
        (HeartbeatRequest, 4, b"\xff\xff\xff\xff\x7f" + bytes(8)),  # one of 35 bits
        (HeartbeatRequest, 4, b"\xff\xff\xff\xff\x0f" + bytes(8)),  # a length of four gigabytes
    ],
)
def test_what_cannot_be_is_a_protocol_error(cls: type[Any], version: int, data: bytes) -> None:
    """Nulls where none may be, bytes that are no text, lengths that are no lengths."""
    with pytest.raises(ProtocolError):
        decode_message(cls, version, memoryview(data))


# Hostile counts


@pytest.mark.parametrize("count", [b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\x00\x10\x00\x00"])
def test_count_beyond_the_frame_allocates_nothing(count: bytes) -> None:
    """A count is compared with the bytes left before a list of that size exists."""
    for prefix in (b"\xff\xff" + bytes(6), b"\xff\xff" + bytes(6) + b"\0\0\0\1\0\1t"):
        frame = memoryview(prefix + count + bytes(1000))
        decode(ProduceRequest, 3, memoryview(wire(ProduceRequest(), 3)))  # compiles
        tracemalloc.start()
        with pytest.raises(ProtocolError):
            decode_message(ProduceRequest, 3, frame)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 50_000


def test_elements_of_a_message_are_limited() -> None:
    """A frame full of the smallest elements, or of unknown tags, is refused when it exceeds what the caller allows."""
    names = uvarint(5001) + b"\x01" * 5000
    assert len(decode(ListGroupsRequest, 4, memoryview(names + b"\0"), max_elements=5000)[0].states_filter) == 5000
    with pytest.raises(ProtocolError, match="5000 elements"):
        decode(ListGroupsRequest, 4, memoryview(names + b"\0"), max_elements=4999)
    tags = b"\x01" + uvarint(5000) + b"\x07\x00" * 5000
    assert decode_message(ListGroupsRequest, 4, memoryview(tags), max_elements=5000) == ListGroupsRequest()
    with pytest.raises(ProtocolError, match="5000 elements"):
        decode(ListGroupsRequest, 4, memoryview(tags), max_elements=4999)


def test_limit_of_requests_is_the_lower_one() -> None:
    """Without being told, a broker takes 10,000 elements from a client, and a client more from a broker."""
    names = uvarint(10_002) + b"\x01" * 10_001 + b"\0"
    with pytest.raises(ProtocolError, match="10001 elements"):
        decode_message(ListGroupsRequest, 4, memoryview(names))
    response = wire(DeleteGroupsResponse(results=[DeletableGroupResult()] * 10_001), 2)
    assert len(decode_message(DeleteGroupsResponse, 2, memoryview(response)).results) == 10_001


def test_limit_holds_for_nested_arrays_together() -> None:
    """Many small arrays count as much as one large one."""
    topics = [TopicProduceData(name="t", partition_data=[PartitionProduceData()] * 10) for _ in range(10)]
    frame = memoryview(wire(ProduceRequest(topic_data=topics), 9))
    decode_message(ProduceRequest, 9, frame, max_elements=110)
    with pytest.raises(ProtocolError, match="partition_data: 10 elements"):
        decode_message(ProduceRequest, 9, frame, max_elements=109)


# Anything at all


@settings(max_examples=300, deadline=None)
@given(case=st.sampled_from(list(all_versions())), data=st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(case: tuple[type[Any], int], data: bytes) -> None:
    """Whatever the bytes, decoding ends with a message or with ProtocolError."""
    with suppress(ProtocolError):
        decode_message(*case, memoryview(data))


@settings(max_examples=100, deadline=None)
@given(
    case=st.sampled_from(list(all_versions())),
    seed=st.integers(0, 1 << 32),
    splices=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=4),
)
def test_spliced_messages_are_read_or_refused(
    case: tuple[type[Any], int], seed: int, splices: list[tuple[float, int, bytes]]
) -> None:
    """The same holds for messages with bytes cut out and others put in."""
    cls, version = case
    data = wire(make(cls, version, Random(seed)), version)
    for where, cut, insert in splices:
        position = int(where * len(data))
        data = data[:position] + insert + data[position + cut :]
    with suppress(ProtocolError):
        decode_message(cls, version, memoryview(data))


@settings(max_examples=200, deadline=None)
@given(group=st.text(max_size=300), member=st.text(max_size=300), instance=st.none() | st.text(max_size=300))
def test_any_text_survives(group: str, member: str, instance: str | None) -> None:
    """Text of any script and length comes back, in compact and in plain encoding."""
    message = HeartbeatRequest(group_id=group, member_id=member, group_instance_id=instance)
    for version in (3, 4):
        assert decode_message(HeartbeatRequest, version, memoryview(wire(message, version))) == message
