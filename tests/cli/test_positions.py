"""Where to start: every way to say it."""

from datetime import datetime

import pytest

from minibroker.cli.positions import BEGINNING, END, parse_start
from minibroker.cli.problems import CommandError
from minibroker.client.partition_state import Seek, Start


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("beginning", BEGINNING),
        ("earliest", BEGINNING),
        ("END", END),
        ("latest", END),
        ("0", Seek(Start.OFFSET, 0)),
        ("1234567890123", Seek(Start.OFFSET, 1234567890123)),
        ("-5", Seek(Start.LAST, 5)),
        ("-0", Seek(Start.LAST, 0)),
        ("2026-01-31T12:00:00Z", Seek(Start.TIME, 1769860800000)),
        ("2026-01-31T13:00:00.5+01:00", Seek(Start.TIME, 1769860800500)),
    ],
)
def test_a_start_is_read(text: str, start: Seek) -> None:
    """Names for the ends, offsets, counts from the end, and times."""
    assert parse_start(text) == start


def test_a_time_without_a_zone_is_local() -> None:
    """Somebody who types a time means the clock on the wall."""
    assert parse_start("2026-01-31T12:00") == Seek(Start.TIME, round(datetime(2026, 1, 31, 12).timestamp() * 1000))


@pytest.mark.parametrize("text", ["", "middle", "1.5", "--5", "yesterday", "\u0661", "0001-01-01T00:00:00+23:59x"])
def test_other_starts_are_refused(text: str) -> None:
    """The error lists what a start may be."""
    with pytest.raises(CommandError, match=r"--from expects beginning, end, an offset, -N for the last N, or a time"):
        parse_start(text)
