"""The vocabulary in which messages are written: one line per field, all versions of a message in one class.

A message is an attrs class. Each field is made by one of the helpers below, which keeps as attrs metadata what Kafka's
own schema says of it: its type, the versions that have it, the versions in which it may be null, its tag (KIP-482),
and whether a version without it may drop its value. ``decoder`` and ``encoder`` compile functions from that.

Versions are written as Kafka writes them: ``"3+"``, ``"1-4"``, ``"2"``.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar
from uuid import UUID

import attrs

from minibroker.protocol.api import NEVER, ApiKey

ResponseT_co = TypeVar("ResponseT_co", bound="Response", covariant=True)

Records: TypeAlias = Any
"""Record batches, never copied. Decoded: a ``memoryview`` of the frame, or None. To encode: anything bytes-like, a
``FileRange``, a list or tuple of these, or None. (A field that is read as one type and written as several has no
better static type.)"""


OPERATIONS_OMITTED: Final = -(1 << 31)
"""Instead of a bit set of the operations a client is authorized for, when it did not ask for them (KIP-430)."""


_API_BY_NAME: Final = {key.camel_name: key for key in ApiKey}


class FileRange(Protocol):
    """Bytes that stay in a file until they are sent; encoded by reference."""

    @property
    def size_bytes(self) -> int:
        """How many bytes will be sent in its place."""


class Message:
    """Base of everything that can be decoded and encoded on its own.

    ``max_elements`` limits the array elements and unknown tags of one message, all arrays together. Without a limit a
    frame of a few megabytes, full of empty elements, would become gigabytes of objects and stall its reader.
    """

    __slots__ = ()
    max_elements: ClassVar[int] = 100_000


class Response(Message):
    """Base of all responses; the name of a class says to which API it belongs.

    They come from a broker, and the metadata of a large cluster is large.
    """

    __slots__ = ()
    max_elements = 2_000_000
    api: ClassVar[ApiKey]

    def __init_subclass__(cls) -> None:
        cls.api = _API_BY_NAME[cls.__name__.removesuffix("Response")]


class Request(Message, Generic[ResponseT_co]):
    """Base of all requests; its parameter is the response that answers it.

    Ten thousand elements keep a broker busy for 50 ms. What needs more asks for as many partitions, and the broker knows
    how many there are.
    """

    __slots__ = ()
    max_elements = 10_000
    api: ClassVar[ApiKey]

    def __init_subclass__(cls) -> None:
        cls.api = _API_BY_NAME[cls.__name__.removesuffix("Request")]


class Data(Message):
    """Base of messages that are no request or response: they have versions 0 to ``max_version``, none flexible."""

    __slots__ = ()
    max_version: ClassVar[int]


@attrs.frozen
class VersionRange:
    """A span of versions, both ends inclusive."""

    first: int
    last: int

    def __contains__(self, version: int) -> bool:
        return self.first <= version <= self.last

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Read ``"3+"``, ``"1-4"``, ``"2"`` or, for no version at all, ``""``."""
        if not text:
            return cls(NEVER, -1)
        if text.endswith("+"):
            return cls(int(text[:-1]), NEVER)
        first, _, last = text.partition("-")
        return cls(int(first), int(last or first))


@attrs.frozen(eq=False)
class Kind:
    """A type of Kafka's schema language. Calling one makes a field of that type.

    ``code`` is the ``struct`` code of types of fixed size, whose ``size`` is in bytes; it is empty for the others.
    """

    name: str
    code: str = ""
    size: int = 0
    default: Any = None

    def __call__(
        self,
        versions: str = "0+",
        *,
        nullable: str = "",
        tag: int | None = None,
        ignorable: bool = False,
        default: Any = attrs.NOTHING,
    ) -> Any:
        """Make a field that exists in ``versions`` and may be null in ``nullable``.

        With a ``tag`` it is a tagged field wherever it exists. ``ignorable``: a version without it drops its value;
        otherwise encoding a value other than the default for such a version is an error.
        """
        value = self.default if default is attrs.NOTHING else default
        return _field(
            FieldSchema(self, VersionRange.parse(versions), VersionRange.parse(nullable), tag, ignorable), value
        )


@attrs.frozen(eq=False)
class StructKind:
    """A nested message class."""

    cls: type[Any]


@attrs.frozen(eq=False)
class ArrayKind:
    """An array whose elements are primitive or nested messages."""

    element: Kind | StructKind


@attrs.frozen(eq=False)
class FieldSchema:
    """What the compilers need to know of one field, besides its name and default."""

    kind: Kind | StructKind | ArrayKind
    versions: VersionRange
    nullable: VersionRange
    tag: int | None
    ignorable: bool


int8: Final = Kind("int8", "b", 1, 0)
int16: Final = Kind("int16", "h", 2, 0)
int32: Final = Kind("int32", "i", 4, 0)
int64: Final = Kind("int64", "q", 8, 0)
float64: Final = Kind("float64", "d", 8, 0.0)
boolean: Final = Kind("bool", "?", 1, False)
uuid: Final = Kind("uuid", "16s", 16, UUID(int=0))
string: Final = Kind("string", default="")
binary: Final = Kind("bytes", default=b"")
raw_records: Final = Kind("records")


def array(
    element: Kind | type[Any],
    versions: str = "0+",
    *,
    nullable: str = "",
    tag: int | None = None,
    ignorable: bool = False,
    default: Any = attrs.NOTHING,
) -> Any:
    """Make a field that holds a list, by default an empty one; for the rest see ``Kind.__call__``."""
    kind = ArrayKind(element if isinstance(element, Kind) else StructKind(element))
    value = attrs.Factory(list) if default is attrs.NOTHING else default
    return _field(FieldSchema(kind, VersionRange.parse(versions), VersionRange.parse(nullable), tag, ignorable), value)


def struct(cls: type[Any], versions: str = "0+", *, nullable: str = "", tag: int | None = None) -> Any:
    """Make a field that holds one nested message or None, which is its default.

    Kafka's schemas have such fields only where they are nullable or tagged. A tagged one is None when its tag is
    absent; Kafka's own classes have an instance full of defaults there, which costs an object per use.
    """
    schema = FieldSchema(StructKind(cls), VersionRange.parse(versions), VersionRange.parse(nullable), tag, False)
    return _field(schema, None)


def _field(schema: FieldSchema, default: Any) -> Any:
    return attrs.field(default=default, metadata={_SCHEMA: schema})


_SCHEMA: Final = "kafka"


def schema_of(attribute: attrs.Attribute[Any]) -> FieldSchema:
    """Return the schema that a field was made with."""
    schema: FieldSchema = attribute.metadata[_SCHEMA]
    return schema
