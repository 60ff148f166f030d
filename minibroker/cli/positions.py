"""Where to start reading, as --from and `admin group reset` say it."""

from __future__ import annotations

from datetime import datetime

from minibroker.cli.problems import CommandError
from minibroker.client.partition_state import Seek, Start
from minibroker.config.errors import shown

BEGINNING = Seek(Start.EARLIEST)
END = Seek(Start.LATEST)

_EDGES = {"beginning": BEGINNING, "earliest": BEGINNING, "end": END, "latest": END}


def parse_start(text: str, flag: str = "--from") -> Seek:
    """beginning, end, OFFSET, -N (the last N) or an ISO time, local unless it says otherwise; raises CommandError."""
    if (edge := _EDGES.get(text.lower())) is not None:
        return edge
    if text.removeprefix("-").isdecimal() and text.isascii():
        return Seek(Start.LAST, int(text[1:])) if text.startswith("-") else Seek(Start.OFFSET, int(text))
    try:
        return Seek(Start.TIME, round(datetime.fromisoformat(text).timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise CommandError(
            f"{flag} expects beginning, end, an offset, -N for the last N, or a time like 2026-01-31T12:00, "
            f"found {shown(text)}"
        ) from None
