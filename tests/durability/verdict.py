"""Whether what is on a disk is what clients were told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from minibroker.config.load import structure
from minibroker.storage.filesystem import OsFileSystem
from tests.simulation.history import History, Scan
from tests.simulation.inspection import open_disk, scan


def read_directory(directory: Path, settings: Mapping[str, str]) -> Scan:
    """What a fresh start finds in a broker's directory: everything is read."""
    options = structure({**settings, "log.dirs": str(directory / "data")})
    data = open_disk(OsFileSystem(), options, time.time_ns() // 1_000_000)
    try:
        return scan(data)
    finally:
        data.directory.release()


def judge(history: History, found: Scan) -> None:
    """Fail with everything that was promised and not kept."""
    anomalies = history.check(found)
    assert not anomalies, "; ".join(f"{anomaly.kind}: {anomaly.detail}" for anomaly in anomalies[:20])
