"""Every message in every version, against itself and against kio."""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Any

import pytest

from minibroker.protocol.codec import decode, decode_message, encode
from minibroker.protocol.errors import ProtocolError
from tests.protocol.instances import all_versions, frozen_copy, make
from tests.protocol.oracle import decode_with_kio, encode_with_kio, first_kio_version, kio_class, to_kio


def parametrized(cases: list[tuple[type[Any], int]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("cls", "version"), cases, ids=[f"{cls.__name__}-v{v}" for cls, v in cases])


every_message = parametrized(list(all_versions()))
every_message_of_kio = parametrized([(cls, v) for cls, v in all_versions() if v >= first_kio_version(cls.api)])


def wire(message: Any, version: int) -> bytes:
    return b"".join(encode(message, version))


@every_message
def test_what_is_encoded_is_decoded(cls: type[Any], version: int) -> None:
    """A decoded message equals the one encoded, from a writable buffer too, and ends where the buffer does."""
    for seed in range(4):
        message = make(cls, version, Random(f"{cls.__name__} {version} {seed}"))
        data = wire(message, version)
        assert decode_message(cls, version, memoryview(data)) == message
        shifted = memoryview(bytearray(b"abc" + data + b"def"))
        assert decode(cls, version, shifted[:-3], 3) == (message, 3 + len(data))


@every_message_of_kio
def test_bytes_equal_those_of_kio(cls: type[Any], version: int) -> None:
    """Our bytes are the bytes kio writes for the same values, and kio reads them as those values."""
    target = kio_class(cls, version)
    for seed in range(3):
        message = make(cls, version, Random(f"kio {cls.__name__} {version} {seed}"))
        entity = to_kio(message, version, target)
        data = wire(message, version)
        assert data == encode_with_kio(entity)
        assert decode_with_kio(target, data) == entity


@every_message_of_kio
def test_defaults_equal_those_of_kio(cls: type[Any], version: int) -> None:
    """A message without arguments has the defaults of Kafka's schema, wherever kio states them."""
    target = kio_class(cls, version)
    ours = to_kio(cls(), version, target)
    for field in dataclasses.fields(target):
        if field.default is not dataclasses.MISSING:
            assert getattr(ours, field.name) == field.default, field.name


@every_message
def test_every_truncation_is_a_protocol_error(cls: type[Any], version: int) -> None:
    """A message cut at any byte is refused, with the one exception there is for that."""
    data = wire(make(cls, version, Random(f"cut {cls.__name__} {version}")), version)
    whole = memoryview(data)
    step = max(1, len(data) // 400)
    for end in [*range(0, len(data), step), len(data) - 1]:
        if end < 0:
            continue
        with pytest.raises(ProtocolError):
            decode_message(cls, version, whole[:end])


@every_message
def test_trailing_bytes_are_a_protocol_error(cls: type[Any], version: int) -> None:
    """A message followed by anything is refused."""
    data = wire(make(cls, version, Random(f"more {cls.__name__} {version}")), version)
    with pytest.raises(ProtocolError, match="1 bytes follow"):
        decode_message(cls, version, memoryview(data + b"\0"))


@every_message
def test_flipped_bits_are_read_or_refused(cls: type[Any], version: int) -> None:
    """Damage leads to ProtocolError or to a message, and that one survives another round trip."""
    random = Random(f"flip {cls.__name__} {version}")
    data = wire(make(cls, version, random), version)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(random.choice((1, 1, 2, 5))):
            if damaged:
                damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
        _read_or_refuse(cls, version, damaged)


@every_message
def test_garbage_is_read_or_refused(cls: type[Any], version: int) -> None:
    """Random bytes, many of them small as lengths are, lead to ProtocolError or to a message."""
    random = Random(f"garbage {cls.__name__} {version}")
    for _ in range(60):
        length = random.choice((0, 1, 3, 10, 40, 200))
        _read_or_refuse(cls, version, bytearray(random.choices((0, 0, 1, 2, 127, 128, 255), k=length)))


def _read_or_refuse(cls: type[Any], version: int, data: bytearray) -> None:
    try:
        message, _ = decode(cls, version, memoryview(data))
    except ProtocolError:
        return
    message = frozen_copy(message)
    assert decode_message(cls, version, memoryview(wire(message, version))) == message
