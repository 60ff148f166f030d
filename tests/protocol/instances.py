"""Messages full of seeded random values, made from the metadata of their fields."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import UUID

import attrs

from minibroker.protocol.api import ApiKey, request_class, response_class
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.layout import Member, members
from minibroker.protocol.schema import ArrayKind, Kind, StructKind

TEXTS = ["", "a", "orders-2", "größe", "主题", "x" * 130, "y" * 300]
BYTES = [b"", b"\0", bytes(range(256)), b"z" * 126, b"z" * 127, b"z" * 128]
LATEST_MS = 4_000_000_000_000  # a time of day that the oracle's datetimes can still hold


def all_versions() -> Iterator[tuple[type[Any], int]]:
    """Every message class in every version."""
    for key in ApiKey:
        for cls in (request_class(key), response_class(key)):
            for version in range(key.min_version, key.max_version + 1):
                yield cls, version


def make(cls: type[Any], version: int, random: Random) -> Any:
    """Make an instance that uses only what the version can carry."""
    plain, tagged, _ = members(cls, version)
    values = {member.name: _value(member, version, random) for member in plain}
    for member in tagged:
        if random.random() < 0.5:
            values[member.name] = _value(member, version, random)
    return cls(**values)


def _value(member: Member, version: int, random: Random) -> Any:
    if member.nullable and random.random() < 0.25:
        return None
    if isinstance(member.kind, ArrayKind):
        element = member.kind.element
        count = random.choice((0, 1, 1, 2, 3))
        if isinstance(element, StructKind):
            return [make(element.cls, version, random) for _ in range(count)]
        return [_primitive(element, member.name, random) for _ in range(count)]
    if isinstance(member.kind, StructKind):
        return make(member.kind.cls, version, random)
    return _primitive(member.kind, member.name, random)


def _primitive(kind: Kind, name: str, random: Random) -> Any:
    if kind.name == "string":
        return random.choice(TEXTS)
    if kind.name in ("bytes", "records"):
        return random.choice(BYTES)
    if kind.name == "uuid":
        return random.choice((UUID(int=0), UUID(int=random.getrandbits(128))))
    if kind.name == "bool":
        return random.random() < 0.5
    if kind.name == "float64":
        return random.uniform(-1e9, 1e9)
    if name.endswith("error_code"):
        return int(random.choice(list(ErrorCode)))
    if kind.name == "int64" and name.endswith("_ms"):
        return random.choice((0, 1000, random.randrange(0, LATEST_MS, 1000)))  # kio has whole seconds only
    top = 1 << (8 * kind.size - 1)
    return random.choice((0, -1, 1, top - 1, -top, random.randrange(-top, top)))


def frozen_copy(message: Any) -> Any:
    """Return the message with every view of a buffer replaced by bytes."""
    if isinstance(message, memoryview):
        return bytes(message)
    if isinstance(message, list):
        return [frozen_copy(item) for item in message]
    if attrs.has(type(message)):
        fields = attrs.fields(type(message))
        return type(message)(**{field.name: frozen_copy(getattr(message, field.name)) for field in fields})
    return message
