"""Errors as one line for the person at the keyboard, and the exit status that goes with each."""

from __future__ import annotations

from typing import Final

import attrs
from cyclopts import CycloptsError

from minibroker.cli import FAILURE, USAGE
from minibroker.config.errors import ConfigError
from minibroker.protocol.errors import KafkaError
from minibroker.server.errors import StartError
from minibroker.storage.errors import DirectoryError, StorageError


@attrs.frozen
class Problem:
    """What to print, and the status to leave with."""

    message: str
    status: int


class CommandError(Exception):
    """A command cannot be carried out. Its text is one line that says what was expected and what was found."""

    def __init__(self, message: str, status: int = USAGE) -> None:
        super().__init__(message)
        self.status = status


# The first that fits.
_STATUS: Final = (
    (CycloptsError, USAGE),
    (ConfigError, USAGE),
    (StartError, USAGE),
    (DirectoryError, USAGE),
    (StorageError, FAILURE),
    (KafkaError, FAILURE),
)


def describe(error: BaseException) -> Problem | None:
    """What to say of an error; None for one that nobody foresaw, whose traceback is worth more than a line."""
    if isinstance(error, BaseExceptionGroup):
        described = filter(None, map(describe, error.exceptions))
        return next(described, None) if error.split(_is_foreseen)[1] is None else None
    if isinstance(error, CommandError):
        return Problem(one_line(str(error)), error.status)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), None)
    return None if status is None else Problem(one_line(str(error)), status)


def _is_foreseen(error: BaseException) -> bool:
    return isinstance(error, (CommandError, *(kind for kind, _ in _STATUS)))


def one_line(text: str) -> str:
    """The text with its lines joined and spaces evened out."""
    return " ".join(text.split())
