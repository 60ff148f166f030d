"""The memory budget lets connections wait, and always lets one of them finish."""

import trio
import trio.testing

from minibroker.server.limits import MemoryBudget


async def test_over_the_limit_only_the_longest_holder_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever holds longest finishes; the others wait until it has given its memory back."""
    budget = MemoryBudget(100)
    first, second = object(), object()
    budget.hold(first, 80)
    budget.hold(second, 80)
    assert budget.allows(first)
    assert not budget.allows(second)
    order = []

    async def wait() -> None:
        await budget.wait_allowed(second)
        order.append("allowed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        order.append("released")
        budget.hold(first, 0)
    assert order == ["released", "allowed"]
    assert budget.held_bytes == 80


def test_who_holds_nothing_goes_on_whatever_others_hold() -> None:
    """However far beyond the limit: it is not at fault."""
    budget = MemoryBudget(100)
    first, second, third = object(), object(), object()
    budget.hold(first, 1)
    budget.hold(second, 10_000)
    assert budget.overrun
    assert budget.allows(third)
    assert not budget.allows(second)


def test_holding_is_counted_once() -> None:
    """A holder's amount replaces its earlier one."""
    budget = MemoryBudget(100)
    holder = object()
    for count in (10, 50, 20):
        budget.hold(holder, count)
        assert budget.held_bytes == count
    budget.hold(holder, 0)
    assert budget.held_bytes == 0
    assert budget.allows(object())
