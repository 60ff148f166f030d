"""Frames: a length, a header, a message (https://kafka.apache.org/protocol, "Common Request and Response Structure").

    request    length int32 | api_key int16 | api_version int16 | correlation_id int32 | client_id | tags | message
    response   length int32 | correlation_id int32 | tags | message

The length counts what follows it. The tags are there in flexible versions only (see ``api``). ``client_id`` is a
nullable string with an int16 length in every version, so that a broker can read the header of a version it does not
know.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import attrs

from minibroker.protocol.api import NEVER, ApiKey, request_header_version, response_header_version
from minibroker.protocol.codec import encode_into
from minibroker.protocol.errors import ProtocolError
from minibroker.protocol.primitives import MAX_STRING_BYTES, Gathered, size_bytes, skip_tagged_fields
from minibroker.protocol.schema import Request, Response

LENGTH_BYTES: Final = 4
MAX_HEADER_TAGS: Final = 1_000

_REQUEST: Final = struct.Struct(">hhih")
_REQUEST_PREFIX: Final = struct.Struct(">ihhi")
_RESPONSE_PREFIX: Final = struct.Struct(">ii")
_LENGTH: Final = struct.Struct(">i")
_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")


@attrs.define(kw_only=True)
class RequestHeader:
    """What a request says of itself. ``api_key`` and ``api_version`` are as received: they may be none we know."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None = None


def decode_request_header(frame: memoryview) -> tuple[RequestHeader, int]:
    """Decode the header of a frame without its length; return it and where the message begins.

    Raises ProtocolError. The header of an unknown API is read as one without tags: nobody reads what follows it.
    """
    try:
        api_key, api_version, correlation_id, length = _REQUEST.unpack_from(frame)
        position = _REQUEST.size
        client_id = None
        if length >= 0:
            end = position + length
            if end > len(frame):
                raise ProtocolError(f"request header: client_id of {length} bytes is not possible here")
            client_id = str(frame[position:end], "utf-8")
            position = end
        if api_version >= _FLEXIBLE_FROM.get(api_key, NEVER):
            position, _ = skip_tagged_fields(frame, position, MAX_HEADER_TAGS) if frame[position] else (position + 1, 0)
    except (struct.error, IndexError):
        raise ProtocolError("a request header ends too early") from None
    except UnicodeDecodeError:
        raise ProtocolError("request header: client_id is not UTF-8") from None
    header = RequestHeader(api_key=api_key, api_version=api_version, correlation_id=correlation_id, client_id=client_id)
    return header, position


def encode_request(correlation_id: int, client_id: str | None, message: Request[Any], version: int) -> Gathered:
    """Encode a whole frame, length included, as buffers to gather. Raises ValueError as ``codec.encode`` does."""
    out = bytearray(_REQUEST_PREFIX.pack(0, message.api, version, correlation_id))
    if client_id is None:
        out += _INT16.pack(-1)
    else:
        name = client_id.encode()
        if len(name) > MAX_STRING_BYTES:
            raise ValueError(f"a client id of {len(name)} bytes is longer than {MAX_STRING_BYTES}")
        out += _INT16.pack(len(name))
        out += name
    if request_header_version(message.api, version) == 2:
        out.append(0)
    return _framed(out, message, version)


def encode_response(correlation_id: int, key: ApiKey, version: int, message: Response) -> Gathered:
    """Encode a whole frame, length included, as buffers and file ranges to send in order.

    Raises ValueError as ``codec.encode`` does.
    """
    out = bytearray(_RESPONSE_PREFIX.pack(0, correlation_id))
    if response_header_version(key, version) == 1:
        out.append(0)
    return _framed(out, message, version)


def decode_response_header(frame: memoryview, key: ApiKey, version: int) -> tuple[int, int]:
    """Decode the header of a response frame without its length; return the correlation id and where the message begins.

    Raises ProtocolError.
    """
    try:
        (correlation_id,) = _INT32.unpack_from(frame)
        position = _INT32.size
        if response_header_version(key, version) == 1:
            position, _ = skip_tagged_fields(frame, position, MAX_HEADER_TAGS)
    except (struct.error, IndexError):
        raise ProtocolError("a response header ends too early") from None
    return correlation_id, position


def _framed(out: bytearray, message: Request[Any] | Response, version: int) -> Gathered:
    """Encode the message behind its header and fill in the length of the frame."""
    parts: Gathered = [out]
    encode_into(message, version, out, parts)
    total_bytes = len(out) if len(parts) == 1 else sum([size_bytes(part) for part in parts])
    try:
        _LENGTH.pack_into(out, 0, total_bytes - LENGTH_BYTES)
    except struct.error:
        raise ValueError(f"a frame of {total_bytes} bytes is larger than its length field can say") from None
    return parts


_FLEXIBLE_FROM: Final = {int(key): key.flexible_from for key in ApiKey}
