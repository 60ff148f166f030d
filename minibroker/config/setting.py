"""What one setting is: its name, kind, default, range and documentation. Both settings classes are built from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from functools import partial
from typing import Any, Final

import attrs

from minibroker.config.errors import ConfigError

MAX_INT: Final = 2**31 - 1
MAX_LONG: Final = 2**63 - 1

_METADATA_KEY: Final = "minibroker.setting"


class Kind(IntEnum):
    """The types of Kafka's settings, with the numbers DescribeConfigs uses for them (KIP-569)."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    LONG = 5
    DOUBLE = 6
    LIST = 7

    @property
    def in_words(self) -> str:
        """The kind as an error message names it."""
        return _KIND_WORDS[self]


_KIND_WORDS: Final = {
    Kind.BOOLEAN: "true or false",
    Kind.STRING: "a string",
    Kind.INT: "an integer",
    Kind.LONG: "an integer",
    Kind.DOUBLE: "a number",
    Kind.LIST: "a list of strings",
}


class Importance(Enum):
    """How likely a user is to care: orders the documentation."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@attrs.frozen(kw_only=True)
class Range:
    """Which values a setting takes, beyond its kind."""

    at_least: float | None = None
    at_most: float | None = None
    also: int | None = None  # one value outside the range, with a meaning of its own
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The range in words that follow those of a kind: "an integer" + "of at least 1"."""
        if self.choices:
            return f"out of {', '.join(self.choices)}"
        if self.at_least is None:
            return ""
        words = f"of at least {self.at_least}" if self.at_most is None else f"from {self.at_least} to {self.at_most}"
        return words if self.also is None else f"{words}, or {self.also}"

    def __contains__(self, value: Any) -> bool:
        if self.choices:
            return all(item in self.choices for item in (value if isinstance(value, tuple) else (value,)))
        if self.also is not None and value == self.also:
            return True
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


@attrs.frozen(kw_only=True, eq=False)
class Setting:
    """All that is known of one setting. Defaults are typed values, not text."""

    name: str
    kind: Kind
    default: Any
    kafka_default: Any  # differs from `default` only where the documentation says why
    documentation: str
    importance: Importance
    range: Range
    dynamic: bool
    synonyms: tuple[tuple[str, int], ...] = ()
    """Broker settings behind a topic's, nearest first, each with the factor to its unit."""

    def check(self, value: Any) -> None:
        """Raise ConfigError unless `value` is of this kind and in range, or None where that is the default."""
        if value is None and self.default is None:
            return
        if not _IS_OF_KIND[self.kind](value) or value not in self.range:
            raise ConfigError(f"{self.name} expects {self.expected}, found {shown(value)}")

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        return f"{self.kind.in_words} {self.range}".rstrip()

    def _validate(self, _instance: object, _attribute: object, value: Any) -> None:
        self.check(value)


def _is_integer_up_to(limit: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and -limit - 1 <= value <= limit


_IS_OF_KIND: Final[Mapping[Kind, Callable[[Any], bool]]] = {
    Kind.BOOLEAN: lambda value: type(value) is bool,  # bool is an int for isinstance, and 1 is not true here
    Kind.STRING: lambda value: isinstance(value, str),
    Kind.INT: _is_integer_up_to(MAX_INT),
    Kind.LONG: _is_integer_up_to(MAX_LONG),
    Kind.DOUBLE: lambda value: type(value) in (int, float),
    Kind.LIST: lambda value: isinstance(value, tuple) and all(isinstance(item, str) for item in value),
}


def shown(value: object) -> str:
    """A value as an error message quotes it: on one line, whatever it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ", ".join(map(shown, value)) or "an empty list"
    if isinstance(value, int | float):
        return str(value)
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    escaped = (one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return f'"{"".join(escaped)}"'


_AS_KAFKA: Final = object()


def _declare(
    kind: Kind,
    name: str,
    default: Any,
    documentation: str,
    *,
    importance: Importance = Importance.MEDIUM,
    at_least: float | None = None,
    at_most: float | None = None,
    also: int | None = None,
    choices: tuple[str, ...] = (),
    dynamic: bool = False,
    kafka_default: Any = _AS_KAFKA,
) -> Any:
    setting = Setting(
        name=name,
        kind=kind,
        default=default,
        kafka_default=default if kafka_default is _AS_KAFKA else kafka_default,
        documentation=documentation,
        importance=importance,
        range=Range(at_least=at_least, at_most=at_most, also=also, choices=choices),
        dynamic=dynamic,
    )
    return declare(setting)


def declare(setting: Setting) -> Any:
    """The attrs field that carries `setting`, checked whenever a value of its class is made."""
    return attrs.field(default=setting.default, validator=setting._validate, metadata={_METADATA_KEY: setting})


# Each declares an attribute of a settings class: boolean("delete.topic.enable", True, "…").
boolean = partial(_declare, Kind.BOOLEAN)
string = partial(_declare, Kind.STRING)
integer = partial(_declare, Kind.INT)  # 32 bits
long = partial(_declare, Kind.LONG)  # 64 bits
double = partial(_declare, Kind.DOUBLE)
names = partial(_declare, Kind.LIST)


def attribute_name(name: str) -> str:
    """`log.retention.ms` → `log_retention_ms`. No setting of Kafka's that we have contains an underscore or a dash."""
    return name.replace(".", "_")


def settings_of(cls: type) -> dict[str, Setting]:
    """Every setting that a settings class declares, by Kafka name, in the order of declaration."""
    fields = (field.metadata.get(_METADATA_KEY) for field in attrs.fields(cls))
    return {setting.name: setting for setting in fields if setting is not None}
