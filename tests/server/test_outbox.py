"""Answers on their way: what becomes of the part of a file that cannot be read."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio

from minibroker.server.outbox import Outbox
from minibroker.storage.errors import StorageError
from tests.simulation.disk import SimulatedDisk, SimulatedFile
from tests.storage.logs import append, make_log


async def test_what_could_not_be_sent_is_checked_before_it_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is lost with it, and whoever asks again has to be told why."""
    disk = SimulatedDisk()
    log = make_log(disk)
    append(log)
    log.flush()
    monkeypatch.setattr(SimulatedFile, "is_cached", lambda *_: False)
    part = log.read(0, 1000, 1)
    assert part is not None
    assert part.checked
    outbox = Outbox(cast(Any, None), trio.lowlevel.checkpoint)
    outbox.add([part], 0)
    assert not outbox.send_nowait()
    disk.failing_calls = {disk.calls: "read"}
    with pytest.raises(StorageError):
        await outbox.wait_sendable()
    again = log.read(0, 1000, 1)
    assert again is not None
    assert not again.checked
