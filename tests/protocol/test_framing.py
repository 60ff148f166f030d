"""Frames and headers, against kio where it knows them."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any

import kio.schema.request_header.v1.header
import kio.schema.request_header.v2.header
import kio.schema.response_header.v0.header
import kio.schema.response_header.v1.header
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.serial import entity_writer

from minibroker.protocol.api import (
    ApiKey,
    request_class,
    request_header_version,
    response_class,
    response_header_version,
)
from minibroker.protocol.codec import decode_message, encode
from minibroker.protocol.errors import ProtocolError
from minibroker.protocol.framing import (
    RequestHeader,
    decode_request_header,
    decode_response_header,
    encode_request,
    encode_response,
)
from minibroker.protocol.messages.api_versions import ApiVersionsRequest
from minibroker.protocol.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from minibroker.protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData

VERSIONS = [(key, version) for key in ApiKey for version in range(key.min_version, key.max_version + 1)]
every_version = pytest.mark.parametrize(("key", "version"), VERSIONS, ids=[f"{k.name}-v{v}" for k, v in VERSIONS])


def kio_bytes(entity: Any) -> bytes:
    buffer = io.BytesIO()
    entity_writer(type(entity))(buffer, entity)
    return buffer.getvalue()


def framed(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">i", len(body)) + body


@every_version
@pytest.mark.parametrize("client_id", [None, "", "me", "größe" * 40])
def test_request_frame(key: ApiKey, version: int, client_id: str | None) -> None:
    """A request frame is its length, the header as kio writes it and the message; decoding gives all of it back."""
    message = request_class(key)()
    frame = b"".join(encode_request(77, client_id, message, version))
    headers = {1: kio.schema.request_header.v1.header, 2: kio.schema.request_header.v2.header}
    header = headers[request_header_version(key, version)].RequestHeader(
        request_api_key=key, request_api_version=version, correlation_id=77, client_id=client_id
    )
    assert frame == framed(kio_bytes(header), *encode(message, version))
    decoded, position = decode_request_header(memoryview(bytearray(frame))[4:])
    assert decoded == RequestHeader(api_key=key, api_version=version, correlation_id=77, client_id=client_id)
    assert decode_message(type(message), version, memoryview(frame)[4:], position) == message


@every_version
def test_response_frame(key: ApiKey, version: int) -> None:
    """A response frame is its length, the header as kio writes it and the message; decoding gives all of it back."""
    message = response_class(key)()
    frame = b"".join(encode_response(78, key, version, message))
    headers = {0: kio.schema.response_header.v0.header, 1: kio.schema.response_header.v1.header}
    header = headers[response_header_version(key, version)].ResponseHeader(correlation_id=78)
    assert frame == framed(kio_bytes(header), *encode(message, version))
    correlation_id, position = decode_response_header(memoryview(frame)[4:], key, version)
    assert correlation_id == 78
    assert decode_message(type(message), version, memoryview(frame)[4:], position) == message


class Range:
    size_bytes = 1000


def test_length_counts_records_and_file_ranges() -> None:
    """The length of a frame covers what is sent by reference."""
    request = ProduceRequest(
        topic_data=[TopicProduceData(name="t", partition_data=[PartitionProduceData(records=b"x" * 500)] * 3)]
    )
    frame = b"".join(encode_request(1, "me", request, 7))
    assert struct.unpack_from(">i", frame) == (len(frame) - 4,)
    partition = PartitionData(records=[Range(), b"y" * 10])
    response = FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=[partition])])
    parts = encode_response(1, ApiKey.FETCH, 11, response)
    size_bytes = sum(1000 if isinstance(part, Range) else len(part) for part in parts)
    assert struct.unpack_from(">i", parts[0]) == (size_bytes - 4,)


def test_frame_that_is_too_large_is_an_error() -> None:
    """What an int32 length cannot say raises ValueError."""

    class Huge:
        size_bytes = (1 << 31) - 1

    response = FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=[PartitionData(records=Huge())])])
    with pytest.raises(ValueError, match="larger than its length field can say"):
        encode_response(1, ApiKey.FETCH, 11, response)


def test_client_id_that_is_too_long_is_an_error() -> None:
    """A client id has an int16 length in every version."""
    with pytest.raises(ValueError, match="client id"):
        encode_request(1, "x" * 32768, ApiVersionsRequest(), 3)


def test_header_of_an_unknown_api_or_version_is_read() -> None:
    """A broker can tell who asks for what, and answer, before it knows whether it can."""
    for key, version in ((999, 0), (-1, -1), (18, 99), (18, -5), (0, 0)):
        frame = struct.pack(">hhih", key, version, 5, 2) + b"me" + bytes(20)
        header, _ = decode_request_header(memoryview(frame))
        assert header == RequestHeader(api_key=key, api_version=version, correlation_id=5, client_id="me")


def test_unknown_tags_in_headers_are_skipped() -> None:
    """Headers of flexible versions end with tagged fields, which may be new to us."""
    frame = struct.pack(">hhih", 18, 3, 5, -1) + b"\x02\x00\x03abc\x64\x00" + b"rest"
    assert decode_request_header(memoryview(frame))[1] == len(frame) - 4
    assert decode_response_header(memoryview(b"\0\0\0\5\x01\x00\x01x" + b"rest"), ApiKey.FETCH, 12) == (5, 8)


def test_truncated_headers_are_protocol_errors() -> None:
    """A header cut at any byte is refused."""
    frame = b"".join(encode_request(1, "somebody", ApiVersionsRequest(), 3))[4:]
    for end in range(4 + 4 + 2 + 8 + 1):
        with pytest.raises(ProtocolError):
            decode_request_header(memoryview(frame[:end]))
    for end in range(5):
        with pytest.raises(ProtocolError):
            decode_response_header(memoryview(bytes(end)), ApiKey.FETCH, 12)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_header_or_refused(data: bytes) -> None:
    """Whatever the bytes, reading a header ends with a header or with ProtocolError."""
    for prefix in (b"", b"\0\x12\0\3", b"\0\0\0\x09"):
        with suppress(ProtocolError):
            _, position = decode_request_header(memoryview(prefix + data))
            assert position <= len(prefix + data)
    with suppress(ProtocolError):
        decode_response_header(memoryview(data), ApiKey.FETCH, 12)
