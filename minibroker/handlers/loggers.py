"""The broker's loggers and their levels, in Kafka's terms (KIP-412). A change lasts until the broker ends."""

from __future__ import annotations

import logging
from typing import Final

from minibroker.protocol.errors import InvalidConfig, InvalidRequest

ROOT: Final = "root"
PACKAGE: Final = "minibroker"

_LEVELS: Final = {
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
}


def logger_levels() -> dict[str, str]:
    """The level in force of every logger of ours that is in use, and of the root of all."""
    known = sorted(name for name in logging.root.manager.loggerDict if f"{name}.".startswith(f"{PACKAGE}."))
    return {name: _level_in_force(name) for name in (ROOT, *known)}


def check_level(name: str, level: str | None) -> None:
    """Raise InvalidConfig or InvalidRequest unless that logger can have that level; None stands for no level of its own."""
    if name not in logger_levels():
        raise InvalidConfig(f"there is no logger {name!r}")
    if level is None and name == ROOT:
        raise InvalidRequest("expected a level for the root logger, found that it shall have none")
    if level is not None and level not in _LEVELS:
        raise InvalidConfig(f"expected a level out of {', '.join(_LEVELS)} for {name}, found {level!r}")


def set_level(name: str, level: str | None) -> None:
    """Give a logger a level, or let it inherit one again. What `check_level` refuses is a bug here."""
    logging.getLogger(None if name == ROOT else name).setLevel(logging.NOTSET if level is None else _LEVELS[level])


def _level_in_force(name: str) -> str:
    number = logging.getLogger(None if name == ROOT else name).getEffectiveLevel()
    return next((level for level, least in reversed(_LEVELS.items()) if number >= least), "DEBUG")
