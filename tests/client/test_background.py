"""Background tasks and the exceptions of the block they belong to."""

from __future__ import annotations

import pytest
import trio

from minibroker.client.background import BackgroundTasks


async def test_exceptions_of_the_body_leave_as_themselves() -> None:
    """No ExceptionGroup around what the user raised."""
    with pytest.raises(ValueError, match="mine"):  # noqa: PT012
        async with BackgroundTasks() as tasks:
            tasks.start(trio.sleep_forever, name="sleeper")
            raise ValueError("mine")


async def test_a_bug_in_a_task_ends_the_body() -> None:
    """It is not lost, and the body does not wait forever."""

    async def broken() -> None:
        raise AssertionError("bug")

    with pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match="bug"), flatten_subgroups=True):
        async with BackgroundTasks() as tasks:
            tasks.start(broken, name="broken")
            await trio.sleep_forever()


async def test_cancellation_passes_through() -> None:
    """A timeout around the block works as without it."""
    with trio.move_on_after(0) as scope:
        async with BackgroundTasks() as tasks:
            tasks.start(trio.sleep_forever, name="sleeper")
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_tasks_outlive_the_cancellation_of_the_block() -> None:
    """Until its end, so that what it does in a shield on its way out can still use them."""
    question, answer = trio.Event(), trio.Event()

    async def reply() -> None:
        await question.wait()
        answer.set()

    with trio.move_on_after(0):
        async with BackgroundTasks() as tasks:
            tasks.start(reply, name="reply")
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    question.set()
                    await answer.wait()
    assert answer.is_set()
    assert not tasks.open


async def test_opens_in_a_cancelled_scope() -> None:
    """It is open for the moment until the body notices."""
    with trio.CancelScope() as scope:
        scope.cancel()
        async with BackgroundTasks() as tasks:
            assert tasks.open
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_is_used_once_and_inside_the_block() -> None:
    """Starting a task outside says so."""
    tasks = BackgroundTasks()
    with pytest.raises(RuntimeError, match="async with"):
        tasks.start(trio.sleep_forever, name="early")
    async with tasks:
        assert tasks.open
    assert not tasks.open


async def test_a_task_may_start_another_while_the_block_ends() -> None:
    """Who is woken at the same moment as the block ends does not know of it yet; what it starts is cancelled too."""
    started = trio.Event()
    woken = trio.Event()

    async def late(tasks: BackgroundTasks) -> None:
        started.set()
        with trio.CancelScope(shield=True):
            await woken.wait()
        tasks.start(trio.sleep_forever, name="too late")

    tasks = BackgroundTasks()
    async with tasks:
        tasks.start(late, tasks, name="late")
        await started.wait()
        woken.set()
    assert not tasks.open
