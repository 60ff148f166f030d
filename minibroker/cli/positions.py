"""Where to start reading, as --from and `admin group reset` say it."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import attrs

from minibroker.cli.problems import CommandError
from minibroker.config.errors import shown


class Edge(Enum):
    """The two ends of a partition."""

    BEGINNING = "beginning"
    END = "end"


@attrs.frozen
class AtOffset:
    """This offset in each partition."""

    offset: int


@attrs.frozen
class LastRecords:
    """So many offsets before the end of each partition."""

    count: int


@attrs.frozen
class AtTime:
    """The first record of this time or later in each partition."""

    timestamp_ms: int


Start = Edge | AtOffset | LastRecords | AtTime

_EDGES = {
    "beginning": Edge.BEGINNING,
    "earliest": Edge.BEGINNING,
    "end": Edge.END,
    "latest": Edge.END,
}


def parse_start(text: str, flag: str = "--from") -> Start:
    """beginning, end, OFFSET, -N (the last N) or an ISO time, local unless it says otherwise; raises CommandError."""
    if (edge := _EDGES.get(text.lower())) is not None:
        return edge
    if text.removeprefix("-").isdecimal() and text.isascii():
        return LastRecords(int(text[1:])) if text.startswith("-") else AtOffset(int(text))
    try:
        return AtTime(round(datetime.fromisoformat(text).timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise CommandError(
            f"{flag} expects beginning, end, an offset, -N for the last N, or a time like 2026-01-31T12:00, "
            f"found {shown(text)}"
        ) from None
