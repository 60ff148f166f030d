"""`minibroker bench`: works against any broker, leaves nothing behind, compares two."""

import json

import pytest

from minibroker.cli import run
from minibroker.load.wire import Wire
from minibroker.protocol.messages.metadata import MetadataRequest
from minibroker.testing import BrokerThread

QUICK = ["--seconds", "0.05", "--batch-bytes", "2000"]


def topics(address: str) -> list[str]:
    """What a client would see there."""
    with Wire(address) as wire:
        return [topic.name or "" for topic in wire.ask(MetadataRequest(topics=None), 7).topics if not topic.is_internal]


def test_all_works_are_measured_and_the_topics_are_gone(
    minibroker: BrokerThread, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row for each work, and a broker as it was."""
    assert run(["bench", "--broker", minibroker.address, "--json", *QUICK]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["work"] for row in rows] == ["produce", "fetch", "latency"]
    assert all(row["records_per_s"] > 0 and row["p50_ms"] <= row["p99_ms"] for row in rows)
    assert topics(minibroker.address) == []


def test_two_brokers_run_in_turns_and_are_compared(
    minibroker: BrokerThread, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have a row; the ratio, or that there is none, is a sentence."""
    with BrokerThread() as other:
        arguments = ["bench", "produce", "-b", minibroker.address, "--against", other.address, "--runs", "2", *QUICK]
        assert run(arguments) == 0
        printed = capsys.readouterr().out
        assert minibroker.address in printed
        assert other.address in printed
        assert printed.splitlines()[-1].startswith("produce: ")
        assert topics(other.address) == []


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        pytest.param(["--broker", "127.0.0.1:1"], 1, "no broker at 127.0.0.1:1", id="nobody there"),
        pytest.param(["--broker", "here"], 1, "expected an address HOST:PORT, found 'here'", id="no address"),
        pytest.param(["dance"], 2, "dance", id="no such work"),
        pytest.param(["--connections", "0"], 2, "connections", id="no connections"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on standard error, and an exit status."""
    assert run(["bench", *arguments]) == status
    printed = capsys.readouterr().err
    assert says in printed
    assert printed.count("\n") == 1
