"""What is wrong with a setting, in one line."""

from __future__ import annotations

from collections.abc import Iterable


class ConfigError(ValueError):
    """A setting that is unknown, ill-typed or out of range. Its text is one line: what was expected, what was found."""


def unknown_setting(name: str, known: Iterable[str], what: str = "setting") -> ConfigError:
    """The error for a setting that does not exist, with the known name that was probably meant."""
    from difflib import get_close_matches  # only somebody's typing error pays for this import

    nearest = get_close_matches(name, list(known), n=1, cutoff=0.0)
    hint = f"; the nearest known one is {shown(nearest[0])}" if nearest else ""
    return ConfigError(f"unknown {what} {shown(name)}{hint}")


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
