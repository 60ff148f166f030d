"""What a broker says when it starts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from minibroker.client import Producer
from minibroker.testing import open_broker

NAME = "minibroker.server.broker"


async def write(address: str, topic: str, batches: int) -> None:
    async with Producer(address, linger_ms=0) as producer:
        for _ in range(batches):
            await (await producer.send(topic, bytes(100))).wait()


def pretend_crash(directory: Path) -> None:
    """Make an orderly end look like none."""
    (directory / "clean-shutdown").unlink()


async def test_one_line_says_what_was_recovered_cut_and_quarantined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And a line of its own names each log that lost something, none those that did not."""
    async with open_broker(data_dir=str(tmp_path)) as broker:
        for topic in ("torn", "rotten", "whole"):
            await write(broker.address, topic, 3)
    torn = tmp_path / "torn-0" / f"{0:020}.log"
    torn.write_bytes(torn.read_bytes() + b"\x01" * 50)
    rotten = tmp_path / "rotten-0" / f"{0:020}.log"
    rotten.write_bytes(rotten.read_bytes()[:-1])
    pretend_crash(tmp_path)
    caplog.set_level(logging.INFO, NAME)
    async with open_broker(data_dir=str(tmp_path)):
        said = [record for record in caplog.records if record.name == NAME]
    summary = said[-1].getMessage()
    assert summary.startswith("recovered: 2 logs, ")
    assert summary.endswith(" 50 bytes cut, 1 ranges of offsets quarantined")
    warnings = [record.getMessage().split(":")[0] for record in said if record.levelno == logging.WARNING]
    assert sorted(warnings) == ["recovered rotten-0", "recovered torn-0"]
