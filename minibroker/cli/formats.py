r"""Format strings in kcat's terms, compiled once and applied to every record.

%t topic  %p partition  %o offset  %T timestamp in ms  %k key  %K its length  %s value  %S its length  %h headers
%R length of the value as four bytes, big-endian  %% a percent sign; \n \r \t \0 \\ \xHH as usual.
The length of a null is -1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from minibroker.cli.problems import CommandError
from minibroker.client.partition_state import ConsumerRecord

Text = Callable[[bytes | None], bytes]
"""How bytes of a record appear: as they are, or made safe for a terminal; and what stands for null."""

Formatter = Callable[[ConsumerRecord], bytes]

_TOKEN: Final = re.compile(r"%(.?)|\\(x[0-9a-fA-F]{2}|.?)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|.?)", re.DOTALL)
_ESCAPES: Final = {"n": b"\n", "r": b"\r", "t": b"\t", "0": b"\0", "\\": b"\\"}
_DIRECTIVES: Final = "t p o T k K s S h R %"


def compile_format(text: str, show: Text) -> Formatter:
    """A function from a record to the bytes that `text` makes of it; raises CommandError for an unknown directive."""
    template = bytearray()
    getters: list[Callable[[ConsumerRecord], object]] = []
    position = 0
    for token in _TOKEN.finditer(text):
        template += _literal(text[position : token.start()])
        position = token.end()
        directive, escape = token.groups()
        if escape is not None:
            template += _escaped("--format", escape).replace(b"%", b"%%")
        elif directive == "%":
            template += b"%%"
        else:
            conversion, getter = _field(directive, show)
            template += conversion
            getters.append(getter)
    template += _literal(text[position:])
    frozen, fields = bytes(template), tuple(getters)
    return lambda record: frozen % tuple([field(record) for field in fields])


def unescape(flag: str, text: str) -> bytes:
    r"""The bytes that a flag's text stands for, with its escapes (`\\t`, `\\x1f`) read; raises CommandError."""
    parts = bytearray()
    position = 0
    for token in _ESCAPE.finditer(text):
        parts += text[position : token.start()].encode() + _escaped(flag, token[1])
        position = token.end()
    return bytes(parts + text[position:].encode())


def _literal(text: str) -> bytes:
    return text.encode().replace(b"%", b"%%")


def _escaped(flag: str, escape: str) -> bytes:
    if escape.startswith("x"):
        return bytes.fromhex(escape[1:])
    if escape not in _ESCAPES:
        raise CommandError(rf"{flag} knows \n \r \t \0 \\ \xHH, found \{escape}")
    return _ESCAPES[escape]


def _length(data: bytes | None) -> int:
    return -1 if data is None else len(data)


def _field(directive: str, show: Text) -> tuple[bytes, Callable[[ConsumerRecord], object]]:
    match directive:
        case "t":
            return b"%b", lambda record: record.topic.encode()
        case "p":
            return b"%d", lambda record: record.partition
        case "o":
            return b"%d", lambda record: record.offset
        case "T":
            return b"%d", lambda record: record.timestamp_ms
        case "k":
            return b"%b", lambda record: show(record.key)
        case "K":
            return b"%d", lambda record: _length(record.key)
        case "s":
            return b"%b", lambda record: show(record.value)
        case "S":
            return b"%d", lambda record: _length(record.value)
        case "R":
            return b"%b", lambda record: _length(record.value).to_bytes(4, "big", signed=True)
        case "h":
            return b"%b", lambda record: show_headers(record, show)
    raise CommandError(f"--format knows {', '.join(f'%{one}' for one in _DIRECTIVES.split())}, found %{directive}")


def show_headers(record: ConsumerRecord, show: Text) -> bytes:
    """name=value,name=value: kcat's form."""
    return b",".join([b"%b=%b" % (show(name.encode()), show(value)) for name, value in record.headers])
