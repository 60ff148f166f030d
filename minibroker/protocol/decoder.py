"""Compiles the decode function of a message class in one version.

The function is straight-line code for exactly that version. It fills instances made with ``object.__new__``, which
costs a third of a call of their ``__init__``, and reads each run of fixed-size fields, with the length prefix that
follows it, in one ``struct`` call.

What hostile bytes could do, and what stops it here: a length or count past the end (checked before use), a count
of tiny elements (``budget``, the array elements and unknown tags a whole message may have), a string longer than any
that Kafka reads (a compact length could say more), a read past the end (``struct.error`` or ``IndexError``, which ``codec``
turns into ProtocolError).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import calcsize, unpack_from
from typing import Any, TypeAlias

from minibroker.protocol import primitives
from minibroker.protocol.layout import Member, Source, members, min_size_bytes
from minibroker.protocol.schema import ArrayKind, Kind, StructKind

Decoder: TypeAlias = Callable[[memoryview, int, int], tuple[Any, int]]
"""(buffer, position, budget) -> (message, where it ends)"""


def compile_decoder(cls: type[Any], version: int, flexible: bool) -> Decoder:
    """Compile the decoder of ``cls`` in one version."""
    return _DecoderSource(version, flexible).compile(cls)


class _DecoderSource:
    def __init__(self, version: int, flexible: bool) -> None:
        self.version = version
        self.flexible = flexible
        self.source = Source(
            "decode(buffer, position, budget)",
            {
                "new": object.__new__,
                "unpack_from": unpack_from,
                "read_uvarint": primitives.read_uvarint,
                "read_long_uvarint": primitives.read_long_uvarint,
                "skip_tagged_fields": primitives.skip_tagged_fields,
                "uuid_of": primitives.uuid_of,
                "bad_length": primitives.bad_length,
                "too_many_elements": primitives.too_many_elements,
            },
        )
        self.run: list[tuple[str, str]] = []  # (target, struct code) of fixed-size fields not yet read
        self.after_run: list[str] = []

    def compile(self, cls: type[Any]) -> Decoder:
        self.source.line("limit = len(buffer)")
        self.message(cls, "message")
        self.flush()
        self.source.line("return message, position")
        return self.source.build("decode", f"decode {cls.__name__} v{self.version}")

    def message(self, cls: type[Any], target: str) -> None:
        """Read one message, or nested message, into ``target``, a local name."""
        plain, tagged, absent = members(cls, self.version)
        self.source.line(f"{target} = new({self.source.refer(cls.__name__, cls)})")
        for member in absent + tagged:
            self.source.line(f"{target}.{member.name} = {self.source.literal(member.default)}")
        for member in plain:
            self.value(member.kind, f"{target}.{member.name}", member.label, member.nullable)
        if self.flexible:
            self.tagged_fields(tagged, target, cls.__name__)

    def value(self, kind: Kind | StructKind | ArrayKind, target: str, label: str, nullable: bool) -> None:
        """Read a value of any kind into ``target``."""
        if isinstance(kind, ArrayKind):
            self.array(kind.element, target, label, nullable)
        elif isinstance(kind, StructKind):
            self.struct(kind.cls, target, nullable)
        elif kind.code:
            self.fixed(kind, target)
        else:
            self.sized(kind, target, label, nullable)

    def fixed(self, kind: Kind, target: str) -> None:
        if kind.name == "uuid":
            raw = self.source.name("raw")
            self.after_run.append(f"{target} = uuid_of({raw})")
            target = raw
        self.run.append((target, kind.code))

    def flush(self) -> None:
        """Read the pending run of fixed-size fields in one call."""
        if not self.run:
            return
        codes = "".join(code for _, code in self.run)
        unpack = self.source.struct_method("unpack_from", codes)
        targets = ", ".join(target for target, _ in self.run)
        self.source.line(f"{targets}{',' * (len(self.run) == 1)} = {unpack}(buffer, position)")
        self.source.line(f"position += {calcsize('>' + codes)}")
        for line in self.after_run:
            self.source.line(line)
        self.run.clear()
        self.after_run.clear()

    def length(self, code: str) -> str:
        """Read a length prefix; return the name that holds it, -1 being null."""
        name = self.source.name("n")
        if not self.flexible:
            self.run.append((name, code))
            self.flush()
            return name
        self.uvarint(name)
        self.source.line(f"{name} -= 1")
        return name

    def uvarint(self, name: str) -> None:
        """Read an unsigned varint, the usual case of one byte without a call."""
        self.flush()
        self.source.line(f"{name} = buffer[position]")
        self.source.line("position += 1")
        self.source.line(f"if {name} > 127: {name}, position = read_long_uvarint(buffer, position, {name})")

    def sized(self, kind: Kind, target: str, label: str, nullable: bool) -> None:
        """Read a string, bytes or records."""
        line = self.source.line
        length = self.length("h" if kind.name == "string" else "i")
        if nullable:
            line(f"if {length} < 0: {target} = None")
            self.source.indent("else:")
        line(f"end = position + {length}")
        too_long = f" or {length} > {primitives.MAX_STRING_BYTES}" if kind.name == "string" and self.flexible else ""
        line(f"if not position <= end <= limit{too_long}: raise bad_length({label!r}, {length})")
        view = "buffer[position:end]"
        value = {"string": f"str({view}, 'utf-8')", "bytes": f"bytes({view})", "records": view}[kind.name]
        line(f"{target} = {value}")
        line("position = end")
        if nullable:
            self.source.dedent()

    def struct(self, cls: type[Any], target: str, nullable: bool) -> None:
        name = self.source.name("struct")
        if nullable:
            marker = self.source.name("n")
            self.run.append((marker, "b"))
            self.flush()
            self.source.line(f"if {marker} < 0: {target} = None")
            self.source.indent("else:")
        self.message(cls, name)
        self.flush()
        self.source.line(f"{target} = {name}")
        if nullable:
            self.source.dedent()

    def array(self, element: Kind | StructKind, target: str, label: str, nullable: bool) -> None:
        line = self.source.line
        length = self.length("i")
        if nullable:
            line(f"if {length} < 0: {target} = None")
            self.source.indent("else:")
        smallest = min_size_bytes(element, self.version, self.flexible)
        line(f"if not 0 <= {length} * {smallest} <= limit - position: raise bad_length({label!r}, {length})")
        line(f"budget -= {length}")
        line(f"if budget < 0: raise too_many_elements({label!r}, {length})")
        if isinstance(element, Kind) and element.code and element.name != "uuid":
            line(f"{target} = list(unpack_from(f'>{{{length}}}{element.code}', buffer, position))")
            line(f"position += {length} * {element.size}")
        else:
            self.elements(element, target, label, length)
        if nullable:
            self.source.dedent()

    def elements(self, element: Kind | StructKind, target: str, label: str, length: str) -> None:
        """Read the elements of an array one by one."""
        items, item = self.source.name("items"), self.source.name("item")
        self.source.line(f"{target} = {items} = []")
        self.source.indent(f"for _ in range({length}):")
        if isinstance(element, StructKind):
            self.message(element.cls, item)
        else:
            self.value(element, item, label, nullable=False)
        self.flush()
        self.source.line(f"{items}.append({item})")
        self.source.dedent()

    def tagged_fields(self, tagged: list[Member], target: str, label: str) -> None:
        """Read the tagged fields that end every message of a flexible version."""
        line = self.source.line
        self.flush()
        if not tagged:
            line("if buffer[position]: position, budget = skip_tagged_fields(buffer, position, budget)")
            line("else: position += 1")
            return
        count, tag, size, stop = (self.source.name(stem) for stem in ("n", "tag", "size", "stop"))
        self.uvarint(count)
        line(f"budget -= {count}")
        line(f"if budget < 0: raise too_many_elements({label!r}, {count})")
        self.source.indent(f"for _ in range({count}):")
        line(f"{tag}, position = read_uvarint(buffer, position)")
        line(f"{size}, position = read_uvarint(buffer, position)")
        line(f"{stop} = position + {size}")
        line(f"if {stop} > limit: raise bad_length({label!r}, {size})")
        for member in tagged:
            self.source.indent(f"if {tag} == {member.schema.tag}:")
            self.value(member.kind, f"{target}.{member.name}", member.label, member.nullable)
            self.flush()
            line(f"if position != {stop}: raise bad_length({member.label!r}, {size})")
            self.source.dedent()
        line(f"position = {stop}")
        self.source.dedent()
