"""Records as lines of JSON, the same form out of the consumer and into the producer.

Keys, values and headers are strings where they are UTF-8, else {"base64": "…"}; null is null. So whatever bytes a
record holds, `consume --json | produce --json` carries them over unchanged.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from minibroker.cli.problems import CommandError
from minibroker.client.partition_state import ConsumerRecord
from minibroker.config.errors import shown

_FIELDS: Final = frozenset({"topic", "partition", "offset", "timestamp", "key", "value", "headers"})


class InputRecord(NamedTuple):
    """A record to send: `timestamp_ms` None is "now", `partition` None is "by the key".

    A named tuple because one is made of each line of input, by the million.
    """

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int | None = None
    partition: int | None = None


def record_to_json(record: ConsumerRecord) -> bytes:
    """One line, with its newline. Field order is fixed."""
    return orjson.dumps(
        {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp_ms,
            "key": _to_json(record.key),
            "value": _to_json(record.value),
            "headers": [[name, _to_json(value)] for name, value in record.headers],
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _to_json(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def record_from_json(line: bytes) -> InputRecord:
    """The record in a line; topic and offset, which the consumer prints, are ignored. Raises CommandError."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise CommandError(f"expected a JSON object, found {shown(line[:60])}: {error}") from None
    if not isinstance(fields, dict):
        raise CommandError(f"expected a JSON object, found {shown(line[:60])}")
    if unknown := sorted(fields.keys() - _FIELDS):
        raise CommandError(f"expected the fields {', '.join(sorted(_FIELDS))}, found {shown(unknown[0])}")
    return InputRecord(
        value=_from_json("value", fields.get("value")),
        key=_from_json("key", fields.get("key")),
        headers=_headers(fields.get("headers")),
        timestamp_ms=_integer("timestamp", fields.get("timestamp")),
        partition=_integer("partition", fields.get("partition")),
    )


def _from_json(field: str, value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"base64"}:
        try:
            return b64decode(value["base64"], validate=True)
        except (ValueError, TypeError):
            raise CommandError(f"{field} expects base64, found {shown(value['base64'])}") from None
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()  # a JSON value is sent as its text


def _headers(value: Any) -> tuple[tuple[str, bytes | None], ...]:
    if isinstance(value, Mapping):
        value = list(value.items())
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        raise CommandError("headers expects pairs of name and value, or an object")
    return tuple((str(name), _from_json("headers", content)) for name, content in value)


def _integer(field: str, value: Any) -> int | None:
    if value is None or type(value) is int:
        return value
    raise CommandError(f"{field} expects an integer, found {shown(value)}")
