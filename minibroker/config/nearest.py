"""An unknown name, answered with the known one that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable

from minibroker.config.errors import ConfigError
from minibroker.config.setting import shown


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None if none is."""
    from difflib import get_close_matches  # only somebody's typing error pays for this import

    matches = get_close_matches(name, list(known), n=1, cutoff=0.0)
    return matches[0] if matches else None


def unknown_setting(name: str, known: Iterable[str], what: str = "setting") -> ConfigError:
    """The error for a setting that does not exist."""
    hint = nearest(name, known)
    return ConfigError(f"unknown {what} {shown(name)}" + (f"; the nearest known one is {shown(hint)}" if hint else ""))
