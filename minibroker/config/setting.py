"""What one setting is: its kind, default, range and documentation. Both settings classes are built from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import partial
from typing import Any, Final

import attrs

from minibroker.config.errors import ConfigError, shown

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

    name: str = ""
    """Kafka's. It is that of the attribute that declares the setting, so a declaration does not say it."""
    kind: Kind
    default: Any
    kafka_default: Any  # differs from `default` only where the documentation says why
    documentation: str
    range: Range
    dynamic: bool
    synonyms: tuple[tuple[str, int], ...] = ()
    """Broker settings behind a topic's, nearest first, each with the factor to its unit."""

    def from_text(self, text: str) -> Any:
        """The value that `text` (a flag, a variable, a client's config) gives to this setting; raises ConfigError.

        Kafka's rules: spaces around it do not count, true and false in any case, lists by commas.
        """
        try:
            value = _PARSERS[self.kind](text.strip())
        except ValueError:
            raise self._refusal(self.name, text) from None
        return self.checked(value)

    def from_toml(self, value: object) -> Any:
        """The value that a TOML value gives to this setting; raises ConfigError.

        It has to be of the setting's own type: "3" is no integer and 1 is not true. A list may be an array or text
        with commas.
        """
        if self.kind is Kind.LIST and isinstance(value, str):
            value = _parse_list(value)
        return self.checked(tuple(value) if isinstance(value, list) else value)

    def checked(self, value: Any) -> Any:
        """The same value; raises ConfigError unless it is of this kind and in range, or None where that is the default."""
        if not self._accepts(value):
            raise self._refusal(self.name, value)
        return value

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        return f"{_KIND_WORDS[self.kind]} {self.range}".rstrip()

    def _accepts(self, value: Any) -> bool:
        if value is None and self.default is None:
            return True
        return _IS_OF_KIND[self.kind](value) and value in self.range

    def _refusal(self, name: str, value: object) -> ConfigError:
        return ConfigError(f"{name} expects {self.expected}, found {shown(value)}")

    def _validate(self, _instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not self._accepts(value):
            raise self._refusal(kafka_name(attribute.name), value)


_KIND_WORDS: Final = {
    Kind.BOOLEAN: "true or false",
    Kind.STRING: "a string",
    Kind.INT: "an integer",
    Kind.LONG: "an integer",
    Kind.DOUBLE: "a number",
    Kind.LIST: "a list of strings",
}


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


def _parse_boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise ValueError(text)
    return lowered == "true"


def _parse_integer(text: str) -> int:
    if not text.removeprefix("-").removeprefix("+").isdecimal() or not text.isascii():
        raise ValueError(text)  # int() also takes "1_000" and other scripts' digits
    return int(text)


def _parse_list(text: str) -> tuple[str, ...]:
    return tuple(item for part in text.split(",") if (item := part.strip()))


_PARSERS: Final[Mapping[Kind, Callable[[str], Any]]] = {
    Kind.BOOLEAN: _parse_boolean,
    Kind.STRING: str,
    Kind.INT: _parse_integer,
    Kind.LONG: _parse_integer,
    Kind.DOUBLE: float,
    Kind.LIST: _parse_list,
}


def to_text(value: object) -> str | None:
    """A value as Kafka writes it; None stays None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


_AS_KAFKA: Final = object()


def _declare(
    kind: Kind,
    default: Any,
    documentation: str,
    *,
    dynamic: bool = False,
    kafka_default: Any = _AS_KAFKA,
    **limits: Any,
) -> Any:
    return declare(
        Setting(
            kind=kind,
            default=default,
            kafka_default=default if kafka_default is _AS_KAFKA else kafka_default,
            documentation=documentation,
            range=Range(**limits),
            dynamic=dynamic,
        )
    )


def declare(setting: Setting) -> Any:
    """The attrs field that carries `setting`, checked whenever a value of its class is made."""
    return attrs.field(default=setting.default, validator=setting._validate, metadata={_METADATA_KEY: setting})


# Each declares an attribute of a settings class: delete_topic_enable: bool = boolean(True, "…"). Limits are those of Range.
boolean = partial(_declare, Kind.BOOLEAN)
string = partial(_declare, Kind.STRING)
integer = partial(_declare, Kind.INT)  # 32 bits
long = partial(_declare, Kind.LONG)  # 64 bits
double = partial(_declare, Kind.DOUBLE)
names = partial(_declare, Kind.LIST)


def attribute_name(name: str) -> str:
    """`log.retention.ms` → `log_retention_ms`. No setting of Kafka's that we have contains an underscore or a dash."""
    return name.replace(".", "_")


def kafka_name(attribute: str) -> str:
    """`log_retention_ms` → `log.retention.ms`."""
    return attribute.replace("_", ".")


def settings_of(cls: type) -> dict[str, Setting]:
    """Every setting that a settings class declares, by Kafka name, in the order of declaration."""
    fields = {kafka_name(field.name): field.metadata.get(_METADATA_KEY) for field in attrs.fields(cls)}
    return {name: attrs.evolve(setting, name=name) for name, setting in fields.items() if setting is not None}
