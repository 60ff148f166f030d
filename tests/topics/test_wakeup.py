"""A thread's signal reaches the Trio task, with the system's best means and with the portable one."""

import threading

import pytest

from minibroker.topics.wakeup import HAS_EVENTFD, ThreadSignal


@pytest.mark.parametrize(
    "use_eventfd", [pytest.param(True, marks=pytest.mark.skipif(not HAS_EVENTFD, reason="no eventfd here")), False]
)
async def test_signals_end_one_wait(use_eventfd: bool) -> None:
    """Several signals before a wait end one wait; the next wait needs another."""
    signal = ThreadSignal(use_eventfd=use_eventfd)
    try:
        for _ in range(3):
            signal.set()
        await signal.wait()
        thread = threading.Thread(target=signal.set)
        thread.start()
        await signal.wait()
        thread.join()
    finally:
        signal.close()
