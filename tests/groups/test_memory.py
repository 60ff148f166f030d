"""What groups are reckoned to take in memory is not less than what they take, whatever clients call things."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from minibroker.config.settings import BrokerSettings
from minibroker.groups import formats
from minibroker.groups.effects import Effects
from minibroker.groups.joining import Join
from minibroker.groups.machine import MAX_NAME_CHARACTERS, MAX_PROTOCOLS, GroupMachine
from minibroker.groups.records import CommittedOffset, OffsetRecord

COUNT = 200
WIDE = "\U0001f600"
LONG = MAX_NAME_CHARACTERS - 20


def commit(machine: GroupMachine, group_id: str, topic: str, metadata: str = "") -> None:
    """As it comes from the log: no text is shared with anything."""
    value = CommittedOffset(offset=10**6, metadata=metadata, commit_timestamp_ms=10**12, topic_id=UUID(int=1))
    record = formats.decode(*formats.encode(OffsetRecord(group_id, topic, 10**6, value)))
    assert record is not None
    machine.replay(record)


def join(machine: GroupMachine, group_id: str, **changes: Any) -> None:
    """Bring a member in, and let its round end."""
    fields: dict[str, Any] = {
        "version": 3,
        "client_id": "c",
        "client_host": "/127.0.0.1",
        "member_id": "",
        "instance_id": None,
        "protocol_type": "consumer",
        "protocols": (("range", b"r"),),
        "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 60_000,
        "new_id": str(UUID(int=len(machine.live))),
    }
    effects = Effects()
    machine.join(group_id, Join(**{**fields, **changes}), object(), 0, effects)
    machine.expire(group_id, 1, effects)
    for record in effects.records:
        machine.replay(record)


def leave(machine: GroupMachine, group_id: str) -> None:
    effects = Effects()
    machine.leave(group_id, [(member_id, None) for member_id in machine.live[group_id].members], 2, effects)
    machine.expire(group_id, 100_000, effects)
    for record in effects.records:
        machine.replay(record)


def a_member(machine: GroupMachine, number: int) -> None:
    join(machine, f"g{number}")


def a_member_of_many_words(machine: GroupMachine, number: int) -> None:
    join(machine, f"g{number}", protocols=tuple((f"{number}-{protocol}", b"") for protocol in range(MAX_PROTOCOLS)))


def a_member_of_wide_words(machine: GroupMachine, number: int) -> None:
    long = f"{WIDE}{'x' * LONG}{number}"
    join(machine, long, client_id=f"{long}c", protocol_type=f"{long}t", protocols=((f"{long}p", b""),))


def a_group_that_was(machine: GroupMachine, number: int) -> None:
    long = f"{WIDE}{'x' * LONG}{number}"
    join(machine, long, protocol_type=f"{long}t")
    leave(machine, long)
    assert not machine.live


def a_commit(machine: GroupMachine, number: int) -> None:
    commit(machine, f"g{number}", "t")


def a_commit_of_a_long_group(machine: GroupMachine, number: int) -> None:
    commit(machine, f"{WIDE}{'x' * LONG}{number}", "t")


def a_commit_of_many_words(machine: GroupMachine, number: int) -> None:
    commit(machine, f"g{number}", "t", f"{WIDE}{'x' * 4_000}{number}")


def a_commit_to_many_topics(machine: GroupMachine, number: int) -> None:
    for topic in range(20):
        commit(machine, f"g{number}", f"{'t' * 240}{topic}")


@pytest.mark.parametrize(
    "add",
    [
        a_member,
        a_member_of_many_words,
        a_member_of_wide_words,
        a_group_that_was,
        a_commit,
        a_commit_of_a_long_group,
        a_commit_of_many_words,
        a_commit_to_many_topics,
    ],
)
def test_memory_is_counted(add: Callable[[GroupMachine, int], None]) -> None:
    """Not less than is taken, and hardly more than twice as much."""
    machine = GroupMachine(BrokerSettings(group_initial_rebalance_delay_ms=0))
    add(machine, COUNT)
    counted_before = machine.size_bytes
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(COUNT):
            add(machine, number)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    counted = machine.size_bytes - counted_before
    assert taken <= counted < 2.5 * taken


def test_nothing_stays_counted() -> None:
    """When offsets and groups are deleted, whatever they were called."""
    machine = GroupMachine(BrokerSettings(group_initial_rebalance_delay_ms=0))
    a_group_that_was(machine, 1)
    a_commit_of_a_long_group(machine, 1)
    a_commit_of_many_words(machine, 1)
    a_commit_to_many_topics(machine, 1)
    assert machine.size_bytes > 20_000
    for group_id in machine.group_ids():
        for record in list(machine.delete_group(group_id)):
            machine.replay(record)
    assert machine.size_bytes == 0
