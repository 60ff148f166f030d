"""Decode and encode messages: the door to the compilers.

A function is compiled for a (class, version) when it is first needed, and kept.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, TypeVar

from minibroker.protocol.api import ApiKey
from minibroker.protocol.decoder import Decoder, compile_decoder
from minibroker.protocol.encoder import Encoder, compile_encoder
from minibroker.protocol.errors import ProtocolError
from minibroker.protocol.primitives import Gathered
from minibroker.protocol.schema import Data, Message

MessageT = TypeVar("MessageT", bound=Message)


@cache
def decoder(cls: type[Any], version: int) -> Decoder:
    """Return the compiled decoder. Raises ValueError for a version the class does not have."""
    return compile_decoder(cls, version, _is_flexible(cls, version))


@cache
def encoder(cls: type[Any], version: int) -> Encoder:
    """Return the compiled encoder. Raises ValueError for a version the class does not have."""
    return compile_encoder(cls, version, _is_flexible(cls, version))


def decode(
    cls: type[MessageT], version: int, buffer: memoryview, position: int = 0, max_elements: int | None = None
) -> tuple[MessageT, int]:
    """Decode the message that begins at ``position``; return it and where it ends.

    Records in it are views of ``buffer``; everything else is copied. ``max_elements`` replaces the limit of the class
    (see ``Message``). Raises ProtocolError, whatever the bytes.
    """
    try:
        function = decoder(cls, version)  # type: ignore[arg-type]  # mypy takes the class for an instance
        return function(buffer, position, cls.max_elements if max_elements is None else max_elements)
    except (struct.error, IndexError):
        raise ProtocolError(f"{cls.__name__} v{version} ends too early") from None
    except UnicodeDecodeError:
        raise ProtocolError(f"{cls.__name__} v{version} has a string that is not UTF-8") from None


def decode_message(
    cls: type[MessageT], version: int, buffer: memoryview, position: int = 0, max_elements: int | None = None
) -> MessageT:
    """Decode a message that must end where the buffer does. Raises ProtocolError."""
    message, end = decode(cls, version, buffer, position, max_elements)
    if end != len(buffer):
        raise ProtocolError(f"{len(buffer) - end} bytes follow {cls.__name__} v{version}")
    return message


def encode(message: Message, version: int) -> Gathered:
    """Encode a message; return the buffers to gather, records and file ranges among them as they came.

    Raises ValueError for what the version cannot express: a field it lacks, a null, a number or string too large.
    """
    out = bytearray()
    parts: Gathered = [out]
    encode_into(message, version, out, parts)
    return parts


def encode_into(message: Message, version: int, out: bytearray, parts: Gathered) -> None:
    """Encode a message behind what ``out``, the last of ``parts``, holds already. Raises ValueError."""
    try:
        function = encoder(type(message), version)  # type: ignore[arg-type]  # as above
        function(message, out, parts)
    except struct.error as error:
        raise ValueError(f"{type(message).__name__} v{version}: {error}") from None
    if not parts[-1]:
        parts.pop()


def _is_flexible(cls: type[Any], version: int) -> bool:
    if issubclass(cls, Data):
        known, flexible = 0 <= version <= cls.max_version, False
    else:
        api: ApiKey = cls.api
        known, flexible = api.has_version(version), api.is_flexible(version)
    if not known:
        raise ValueError(f"{cls.__name__} has no version {version}")
    return flexible
