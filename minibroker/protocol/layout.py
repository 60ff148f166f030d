"""What the two compilers share: which fields a version has, in which order and at what size; and how code is made."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from struct import Struct
from typing import Any, Final

import attrs

from minibroker.protocol.schema import ArrayKind, FieldSchema, Kind, StructKind, schema_of

_FLEXIBLE_MIN_BYTES: Final = 1  # a compact length or a null marker
_MIN_BYTES: Final = {"string": 2, "bytes": 4, "records": 4}


@attrs.frozen(kw_only=True)
class Member:
    """A field as one version sees it."""

    name: str
    label: str  # for people: class and field
    kind: Kind | StructKind | ArrayKind
    schema: FieldSchema
    nullable: bool
    default: Any  # an attrs.Factory for lists


def members(cls: type[Any], version: int) -> tuple[list[Member], list[Member], list[Member]]:
    """Return the fields of a class in wire order, its tagged fields by tag, and those this version lacks."""
    plain: list[Member] = []
    tagged: list[Member] = []
    absent: list[Member] = []
    for attribute in attrs.fields(cls):
        schema = schema_of(attribute)
        member = Member(
            name=attribute.name,
            label=f"{cls.__name__}.{attribute.name}",
            kind=schema.kind,
            schema=schema,
            nullable=version in schema.nullable,
            default=attribute.default,
        )
        group = absent if version not in schema.versions else plain if schema.tag is None else tagged
        group.append(member)
    tagged.sort(key=lambda member: member.schema.tag or 0)
    return plain, tagged, absent


@cache
def min_size_bytes(kind: Kind | StructKind | ArrayKind, version: int, flexible: bool) -> int:
    """Return the least number of bytes a value can take, at least 1: it bounds counts before anything is allocated."""
    if isinstance(kind, ArrayKind):
        return _FLEXIBLE_MIN_BYTES if flexible else 4
    if isinstance(kind, Kind):
        return kind.size or (_FLEXIBLE_MIN_BYTES if flexible else _MIN_BYTES[kind.name])
    plain, _, _ = members(kind.cls, version)
    total = sum(
        1 if isinstance(member.kind, StructKind) else min_size_bytes(member.kind, version, flexible) for member in plain
    )
    return max(1, total + flexible)


class Source:
    """A Python function under construction: lines, indentation, fresh names, and the objects its code refers to."""

    def __init__(self, signature: str, namespace: dict[str, Any]) -> None:
        self._lines = [f"def {signature}:"]
        self._depth = 1
        self._numbers: Iterator[int] = count()
        self.namespace = namespace

    def __len__(self) -> int:
        return len(self._lines)

    def line(self, text: str) -> None:
        """Append a line at the present depth."""
        self._lines.append("    " * self._depth + text)

    def indent(self, text: str) -> None:
        """Append a line that opens a block, and go into the block."""
        self.line(text)
        self._depth += 1

    def dedent(self) -> None:
        """Leave a block."""
        self._depth -= 1

    def name(self, stem: str) -> str:
        """Return a local name that nothing else uses."""
        return f"{stem}{next(self._numbers)}"

    def refer(self, stem: str, value: Any) -> str:
        """Make an object visible to the code; return its name."""
        name = f"{stem}_{next(self._numbers)}"
        self.namespace[name] = value
        return name

    def struct_method(self, method: str, codes: str) -> str:
        """Return the name of ``Struct(codes).method``, big-endian, one per format."""
        name = f"{method}_{codes.replace('?', 'o')}"
        if name not in self.namespace:
            self.namespace[name] = getattr(Struct(">" + codes), method)
        return name

    def literal(self, value: Any) -> str:
        """Return code for a default: a fresh list for a factory, a literal where Python has one."""
        if isinstance(value, attrs.Factory):  # type: ignore[arg-type]
            return "[]"
        if value is None or isinstance(value, (bool, int, float, str, bytes)):
            return repr(value)
        return self.refer("default", value)

    def build(self, function: str, title: str) -> Callable[..., Any]:
        """Compile the function. Its source is registered, so that a traceback or a debugger can show it."""
        text = "\n".join(self._lines) + "\n"
        filename = f"<minibroker {title}>"
        exec(compile(text, filename, "exec"), self.namespace)
        linecache.cache[filename] = len(text), None, text.splitlines(keepends=True), filename
        built: Callable[..., Any] = self.namespace[function]
        return built
