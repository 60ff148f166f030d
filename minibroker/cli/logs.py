"""Logging for people: one readable line per event on standard error, from the standard library."""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal, get_args

LogLevel = Literal["debug", "info", "warning", "error"]
LOG_LEVELS: Final = get_args(LogLevel)


class ReadableFormatter(logging.Formatter):
    """`2026-01-31 12:00:00.000 WARNING server.connection: what happened`: local time, our own names shortened."""

    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the standard library's name
        """The line, with the logger's name shortened for this one use."""
        name = record.name
        record.name = name.removeprefix("minibroker.")
        try:
            return super().formatMessage(record)
        finally:
            record.name = name


def set_up_logging(level: LogLevel) -> None:
    """Send everything from `level` on to standard error. Replaces what was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ReadableFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
