"""Kafka's protocol according to kio, whose classes are generated from Kafka's own schemas."""

from __future__ import annotations

import dataclasses
import io
from datetime import UTC, datetime, timedelta
from typing import Any

from kio.index import load_payload_module
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer
from kio.static.constants import EntityType
from kio.static.primitive import TZAware, i32Timedelta, i64Timedelta

from minibroker.protocol.api import ApiKey
from minibroker.protocol.layout import members
from minibroker.protocol.schema import ArrayKind, StructKind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def first_kio_version(key: ApiKey) -> int:
    """The first version kio has a schema for: Kafka dropped Produce 0 to 2, which we read in order to refuse them."""
    return 3 if key is ApiKey.PRODUCE else key.min_version


def kio_class(cls: type[Any], version: int) -> type[Any]:
    """Return kio's class of one of our message classes in one version."""
    if cls.__name__.endswith("Request"):
        module = load_payload_module(cls.api, version, EntityType.request)
    else:
        module = load_payload_module(cls.api, version, EntityType.response)
    found: type[Any] = getattr(module, cls.__name__)
    return found


def to_kio(message: Any, version: int, target: type[Any]) -> Any:
    """Convert one of our messages; the fields must agree in order and, but for units that kio drops, in name."""
    plain, tagged, _ = members(type(message), version)
    ours = {member.name: member for member in plain + tagged}
    values = {}
    for field in dataclasses.fields(target):
        name = field.name if field.name in ours else f"{field.name}_ms"
        member = ours.pop(name)
        value = getattr(message, name)
        if value is None and isinstance(member.kind, StructKind) and not member.nullable:
            continue  # a tag we leave out is a default of kio's
        values[field.name] = _convert(value, member.kind, version, field)
    assert not ours, f"kio has no {list(ours)}"
    return target(**values)


def encode_with_kio(entity: Any) -> bytes:
    buffer = io.BytesIO()
    entity_writer(type(entity))(buffer, entity)
    return buffer.getvalue()


def decode_with_kio(target: type[Any], data: bytes) -> Any:
    entity, end = entity_reader(target)(data, 0)
    assert end == len(data)
    return entity


def _convert(value: Any, kind: Any, version: int, field: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, ArrayKind):
        return tuple(_convert(item, kind.element, version, field) for item in value)
    if isinstance(kind, StructKind):
        return to_kio(value, version, _entity_type(field.type))
    match field.metadata["kafka_type"]:
        case "error_code":
            return ErrorCode(value)
        case "timedelta_i32":
            return i32Timedelta.parse(timedelta(milliseconds=value))
        case "timedelta_i64":
            return i64Timedelta.parse(timedelta(milliseconds=value))
        case "datetime_i64":
            return None if value == -1 else TZAware.parse(EPOCH + timedelta(milliseconds=value))
        case "uuid":
            return value if value.int else None
        case _:
            return value


def _entity_type(annotation: Any) -> Any:
    """Find the dataclass in ``X``, ``X | None``, ``tuple[X, ...]`` or ``tuple[X, ...] | None``."""
    if dataclasses.is_dataclass(annotation):
        return annotation
    for argument in annotation.__args__:
        if argument is not type(None) and argument is not Ellipsis:
            return _entity_type(argument)
    raise AssertionError(annotation)
