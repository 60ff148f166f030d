"""Compiles the encode function of a message class in one version.

The function appends to a bytearray, each run of fixed-size fields in one ``struct`` call; only records become entries
of their own in the list of buffers to gather.

Kafka's rule for a value that the version has no field for: dropped if the field is ignorable or holds its default,
otherwise an error.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack
from typing import Any, TypeAlias

import attrs

from minibroker.protocol import primitives
from minibroker.protocol.layout import Member, Source, members
from minibroker.protocol.primitives import Gathered
from minibroker.protocol.schema import ArrayKind, Kind, StructKind

Encoder: TypeAlias = Callable[[Any, bytearray, Gathered], None]
"""(message, out, parts): appends to ``out``, the last of ``parts``, and new entries to ``parts``"""


def compile_encoder(cls: type[Any], version: int, flexible: bool) -> Encoder:
    """Compile the encoder of ``cls`` in one version."""
    return _EncoderSource(version, flexible).compile(cls)


class _EncoderSource:
    def __init__(self, version: int, flexible: bool) -> None:
        self.version = version
        self.flexible = flexible
        self.source = Source(
            "encode(message, out, parts)",
            {
                "pack": pack,
                "uvarint": primitives.uvarint,
                "compact_string_length": primitives.compact_string_length,
                "put_records": primitives.put_records,
                "lacks_field": primitives.lacks_field,
                "not_nullable": primitives.not_nullable,
            },
        )
        self.run: list[tuple[str, str]] = []  # (expression, struct code) of fixed-size values not yet written
        self.out = "out"

    def compile(self, cls: type[Any]) -> Encoder:
        self.message(cls, "message")
        self.flush()
        if len(self.source) == 1:
            self.source.line("pass")
        return self.source.build("encode", f"encode {cls.__name__} v{self.version}")

    def message(self, cls: type[Any], subject: str) -> None:
        """Write the message held by ``subject``, a local name."""
        plain, tagged, absent = members(cls, self.version)
        for member in absent:
            if not member.schema.ignorable:
                condition = self.differs(member, f"{subject}.{member.name}")
                self.source.line(f"if {condition}: raise lacks_field({member.label!r}, {self.version})")
        for member in plain:
            self.value(member.kind, f"{subject}.{member.name}", member)
        if self.flexible:
            self.tagged_fields(tagged, subject)

    def differs(self, member: Member, subject: str) -> str:
        """Return code that is true when the field holds something else than its default."""
        if isinstance(member.default, attrs.Factory):  # type: ignore[arg-type]
            return subject
        if isinstance(member.kind, StructKind):
            default = self.source.refer("default", member.kind.cls())
            return f"({subject} is not None and {subject} != {default})"
        if member.default is None:
            return f"{subject} is not None"
        return f"{subject} != {self.source.literal(member.default)}"

    def value(self, kind: Kind | StructKind | ArrayKind, subject: str, member: Member) -> None:
        """Write the value of ``subject``, an expression without side effects."""
        if isinstance(kind, ArrayKind):
            self.array(kind.element, subject, member)
        elif isinstance(kind, StructKind):
            self.struct(kind.cls, subject, member)
        elif kind.code:
            self.run.append((f"{subject}.bytes" if kind.name == "uuid" else subject, kind.code))
        elif kind.name == "records":
            self.flush()
            self.source.line(f"out = put_records({subject}, out, parts, {self.flexible})")
        else:
            self.sized(kind, subject, member)

    def flush(self) -> None:
        """Write the pending run of fixed-size values in one call."""
        if not self.run:
            return
        packer = self.source.struct_method("pack", "".join(code for _, code in self.run))
        self.source.line(f"{self.out} += {packer}({', '.join(expression for expression, _ in self.run)})")
        self.run.clear()

    def length(self, name: str, code: str) -> None:
        """Write a length prefix from the local ``name``, -1 being null."""
        if not self.flexible:
            self.run.append((name, code))
            self.flush()
            return
        self.flush()
        longer = "compact_string_length({})" if code == "h" else "uvarint({} + 1)"
        self.source.line(f"if {name} < 127: {self.out}.append({name} + 1)")
        self.source.line(f"else: {self.out} += {longer.format(name)}")

    def null_check(self, value: str, member: Member, empty: str, length: str) -> None:
        """Open the branch for a value that is there, after the one for None."""
        if member.nullable:
            self.source.line(f"if {value} is None: {value}, {length} = {empty}, -1")
        else:
            self.source.line(f"if {value} is None: raise not_nullable({member.label!r}, {self.version})")
        self.source.indent("else:")

    def sized(self, kind: Kind, subject: str, member: Member) -> None:
        """Write a string or bytes."""
        value, length = self.source.name("value"), self.source.name("n")
        self.source.line(f"{value} = {subject}")
        self.null_check(value, member, "b''", length)
        if kind.name == "string":
            self.source.line(f"{value} = {value}.encode()")
        self.source.line(f"{length} = len({value})")
        self.source.dedent()
        self.length(length, "h" if kind.name == "string" else "i")
        self.source.line(f"{self.out} += {value}")

    def struct(self, cls: type[Any], subject: str, member: Member) -> None:
        """Write a nested message; a nullable one has a byte before it."""
        name = self.source.name("struct")
        self.flush()
        self.source.line(f"{name} = {subject}")
        if member.nullable:
            self.source.line(f"if {name} is None: {self.out}.append(255)")
            self.source.indent("else:")
            self.run.append(("1", "b"))
        self.message(cls, name)
        self.flush()
        if member.nullable:
            self.source.dedent()

    def array(self, element: Kind | StructKind, subject: str, member: Member) -> None:
        line = self.source.line
        items, item, length = self.source.name("items"), self.source.name("item"), self.source.name("n")
        line(f"{items} = {subject}")
        self.null_check(items, member, "()", length)
        line(f"{length} = len({items})")
        self.source.dedent()
        self.length(length, "i")
        if isinstance(element, Kind) and element.code and element.name != "uuid":
            line(f"if {items}: {self.out} += pack(f'>{{{length}}}{element.code}', *{items})")
            return
        self.source.indent(f"for {item} in {items}:")
        if isinstance(element, StructKind):
            self.message(element.cls, item)
        else:
            self.value(element, item, attrs.evolve(member, nullable=False))
        self.flush()
        self.source.dedent()

    def tagged_fields(self, tagged: list[Member], subject: str) -> None:
        """Write the section of tagged fields: those that differ from their defaults, by tag (KIP-482)."""
        if not tagged:
            self.run.append(("0", "b"))
            return
        self.flush()
        conditions = [self.differs(member, f"{subject}.{member.name}") for member in tagged]
        self.source.line(f"if not ({' or '.join(conditions)}): {self.out}.append(0)")
        self.source.indent("else:")
        section, count = self.source.name("section"), self.source.name("n")
        self.source.line(f"{section}, {count} = bytearray(), 0")
        for member, condition in zip(tagged, conditions, strict=True):
            self.source.indent(f"if {condition}:")
            self.tagged_field(member, f"{subject}.{member.name}", section)
            self.source.line(f"{count} += 1")
            self.source.dedent()
        self.source.line(f"{self.out} += uvarint({count})")
        self.source.line(f"{self.out} += {section}")
        self.source.dedent()

    def tagged_field(self, member: Member, subject: str, section: str) -> None:
        """Write one tagged field, with its tag and size, to the local bytearray ``section``."""
        outer, self.out = self.out, self.source.name("field")
        self.source.line(f"{self.out} = bytearray()")
        self.value(member.kind, subject, member)
        self.flush()
        self.source.line(f"{section} += uvarint({member.schema.tag}) + uvarint(len({self.out}))")
        self.source.line(f"{section} += {self.out}")
        self.out = outer
