"""Ctrl-C and SIGTERM: the first ends a program in an orderly way, the second at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import trio


async def obey_signals(
    interrupt: Callable[[], None], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Call `interrupt` at the first signal, until cancelled."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        await anext(signals)
        interrupt()
        os._exit(128 + await anext(signals))
