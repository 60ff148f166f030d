"""Values of settings: from text, from TOML, and back to the text that DescribeConfigs sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from minibroker.config.errors import ConfigError
from minibroker.config.setting import Kind, Setting, shown


def from_text(setting: Setting, text: str) -> Any:
    """The value that `text` (a flag, a variable, a client's config) gives to `setting`.

    Kafka's rules: spaces around it do not count, true and false in any case, lists by commas. Raises ConfigError if it
    is not of the setting's kind; its range is `Setting.check`'s business.
    """
    try:
        return _PARSERS[setting.kind](text.strip())
    except ValueError:
        raise ConfigError(f"{setting.name} expects {setting.expected}, found {shown(text)}") from None


def from_toml(setting: Setting, value: object) -> Any:
    """The value that a TOML value gives to `setting`: of its own type, so "3" is no integer and 1 is not true.

    A list may be an array or text with commas. Anything of another type is left for `Setting.check` to refuse.
    """
    if setting.kind is Kind.LIST:
        return _parse_list(value) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    return value


def to_text(value: object) -> str | None:
    """A value as Kafka writes it; None stays None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


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
