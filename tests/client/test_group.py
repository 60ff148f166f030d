"""Consumers in a group: sharing, taking over, committing no more than what is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from minibroker.client.consumer import Consumer
from minibroker.client.coordinator import CommittedOffset
from minibroker.client.metadata import TopicPartition
from minibroker.client.subscription import decode_assignment
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode, FencedInstanceId, IllegalGeneration, UnknownMemberId
from minibroker.protocol.messages.find_coordinator import Coordinator, FindCoordinatorResponse
from tests.client.fake import FakeCluster, FakePartition, disconnect_before
from tests.client.fake_group import FakeGroup
from tests.client.test_consumer import fill

T0 = TopicPartition("t", 0)


def member(fake: FakeCluster, **changes: Any) -> Consumer:
    """A consumer in group g that begins at the beginning."""
    values: dict[str, Any] = {"topics": ["t"], "group": "g", "auto_offset_reset": "earliest", **changes}
    return Consumer(fake.bootstrap, connect=fake.connect, **values)


def topic(fake: FakeCluster, partitions: int, records: int) -> list[FakePartition]:
    """A topic with so many records in each partition."""
    logs = fake.add_topic("t", partitions)
    for log in logs:
        fill(log, records)
    return logs


Recorder = Callable[[str], Callable[[frozenset[TopicPartition]], Awaitable[None]]]


@pytest.fixture
def told() -> list[tuple[str, list[int]]]:
    """What callbacks were told, in order."""
    return []


def record(told: list[tuple[str, list[int]]], word: str) -> Any:
    """A callback that notes its partitions."""

    async def callback(partitions: frozenset[TopicPartition]) -> None:
        await trio.lowlevel.checkpoint()
        told.append((word, sorted(partition.partition for partition in partitions)))

    return callback


async def test_one_member_has_everything_and_commits_when_it_is_closed(
    autojump_clock: MockClock, fake: FakeCluster
) -> None:
    """All that was handed out; the next member goes on there."""
    topic(fake, 2, 10)
    group = FakeGroup(fake)
    async with member(fake) as reader:
        seen = 0
        while seen < 20:
            seen += len(await reader.poll(100))
        assert reader.assignment == {T0, TopicPartition("t", 1)}
    assert fake.committed == {("t", 0): 10, ("t", 1): 10}
    assert group.members == {}
    fill(fake.topics["t"][0], 1)
    async with member(fake) as reader:
        assert [r.offset for r in await reader.poll()] == [10]


async def test_a_second_member_takes_half(
    autojump_clock: MockClock, fake: FakeCluster, told: list[tuple[str, list[int]]]
) -> None:
    """Nothing is read twice or left out, though members come and go: revoked partitions are committed first."""
    topic(fake, 4, 30)
    FakeGroup(fake)
    seen: list[tuple[int, int]] = []

    async def read(until: int, **changes: Any) -> None:
        async with member(fake, heartbeat_interval_ms=100, **changes) as reader:
            while len(seen) < until:
                seen.extend((r.partition, r.offset) for r in await reader.poll(7, timeout_ms=50))
                await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: read(120, on_assigned=record(told, "assigned"), on_revoked=record(told, "revoked")))
        await trio.sleep(0.12)
        nursery.start_soon(lambda: read(60))
    assert sorted(seen) == [(partition, offset) for partition in range(4) for offset in range(30)]
    assert told[0] == ("assigned", [0, 1, 2, 3])
    assert told[1] == ("revoked", [0, 1, 2, 3])
    assert len(told[2][1]) == 2
    assert fake.committed == {("t", index): 30 for index in range(4)}


async def test_cooperative_members_keep_what_does_not_move(
    autojump_clock: MockClock, fake: FakeCluster, told: list[tuple[str, list[int]]]
) -> None:
    """Only what goes to the newcomer is revoked, and it comes to it in a second generation (KIP-429)."""
    topic(fake, 4, 30)
    group = FakeGroup(fake)
    callbacks = {"on_assigned": record(told, "assigned"), "on_revoked": record(told, "revoked")}
    settings: dict[str, Any] = {"assignors": ["cooperative-sticky"], "heartbeat_interval_ms": 100}
    seen: list[tuple[int, int]] = []

    async def read(**changes: Any) -> None:
        async with member(fake, **settings, **changes) as reader:
            while len(seen) < 120:
                seen.extend((r.partition, r.offset) for r in await reader.poll(5, timeout_ms=50))
                await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: read(**callbacks))
        await trio.sleep(0.1)
        nursery.start_soon(read)
    assert sorted(seen) == [(partition, offset) for partition in range(4) for offset in range(30)]
    assert told[0] == ("assigned", [0, 1, 2, 3])
    words = [word for word, partitions in told if partitions]
    assert words[:2] == ["assigned", "revoked"]
    assert len(told[[word for word, _ in told].index("revoked")][1]) == 2
    for assignments in group.history:
        owned = [partition for data in assignments.values() for partition in decode_assignment(data)]
        assert len(owned) == len(set(owned))


async def test_auto_commit_waits_until_the_application_is_done(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Records in the application's hands are not committed, however often the interval passes; nor after an error."""
    topic(fake, 1, 10)
    FakeGroup(fake)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with member(fake, auto_commit_interval_ms=100) as reader:
            assert len(await reader.poll(3)) == 3
            await trio.sleep(1)
            assert fake.committed.get(("t", 0), 0) == 0
            assert len(await reader.poll(4)) == 4
            await trio.sleep(1)
            assert fake.committed == {("t", 0): 3}
            raise ZeroDivisionError
    assert fake.committed == {("t", 0): 3}


async def test_iteration_commits_all_but_the_record_at_hand(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """One record at a time: those before the last one handed out are done."""
    topic(fake, 1, 10)
    FakeGroup(fake)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with member(fake, auto_commit_interval_ms=100) as reader:
            async for r in reader:
                await trio.sleep(0.2)
                assert fake.committed.get(("t", 0), 0) == r.offset
                if r.offset == 6:
                    raise ZeroDivisionError
    assert fake.committed == {("t", 0): 6}


async def test_iteration_that_ends_early_commits_what_it_was_given(
    autojump_clock: MockClock, fake: FakeCluster
) -> None:
    """Not the rest of the batch, which the application never saw."""
    topic(fake, 1, 10)
    FakeGroup(fake)
    async with member(fake) as reader:
        async for r in reader:
            if r.offset == 1:
                break
    assert fake.committed == {("t", 0): 2}


async def test_a_cancelled_member_leaves_its_group(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """What it was done with is committed, too; the others need not wait for its session to expire."""
    topic(fake, 1, 10)
    group = FakeGroup(fake)
    with trio.CancelScope() as scope:
        async with member(fake) as reader:
            await reader.poll(4)
            await reader.poll(4)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert group.members == {}
    assert len(fake.requests(ApiKey.LEAVE_GROUP)) == 1
    assert fake.committed == {("t", 0): 4}


async def test_a_cancelled_member_does_not_wait_for_a_dead_broker(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Leaving is tried for a few seconds, no more."""
    topic(fake, 1, 10)
    FakeGroup(fake)

    async def never(request: Any, proceed: Any) -> Any:
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        async with member(fake) as reader:
            await reader.poll(4)
            fake.fault(ApiKey.LEAVE_GROUP, never)
            scope.cancel()
            left_at = trio.current_time()
    assert trio.current_time() - left_at < 5


async def test_a_member_that_leaves_during_a_rebalance_is_gone(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """It does not join again behind its own back, which would hold up the next generation."""
    topic(fake, 1, 10)
    group = FakeGroup(fake)
    async with member(fake, heartbeat_interval_ms=100, auto_commit=False) as stays:
        await stays.poll(1)
        async with member(fake, heartbeat_interval_ms=100, auto_commit=False):
            await trio.sleep(0.05)
            assert len(group.members) == 2
            assert group.waiting
        assert len(group.members) == 1
        await trio.sleep(1)
        assert len(group.members) == 1


async def test_manual_commits(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Of everything handed out, or of given offsets; with auto_commit off, closing commits nothing."""
    topic(fake, 1, 10)
    FakeGroup(fake)
    async with member(fake, auto_commit=False) as reader:
        await reader.poll(4)
        await reader.commit()
        assert fake.committed == {("t", 0): 4}
        await reader.commit({T0: CommittedOffset(2, "note")})
        assert fake.requests(ApiKey.OFFSET_COMMIT)[-1].topics[0].partitions[0].committed_metadata == "note"
        assert (await reader.committed([T0]))[T0].offset == 2
        await reader.poll(4)
    assert fake.committed == {("t", 0): 2}


async def test_a_rebalance_waits_for_the_application(
    autojump_clock: MockClock, fake: FakeCluster, told: list[tuple[str, list[int]]]
) -> None:
    """While it works on records nothing is taken from it, and heartbeats go on."""
    topic(fake, 1, 10)
    group = FakeGroup(fake)
    async with member(fake, heartbeat_interval_ms=100, on_revoked=record(told, "revoked")) as reader:
        records = await reader.poll(4)
        group.rebalance()
        beats = len(fake.requests(ApiKey.HEARTBEAT))
        await trio.sleep(5)
        assert told == []
        assert len(fake.requests(ApiKey.HEARTBEAT)) - beats > 40
        records += await reader.poll(100)
        assert told == [("revoked", [0])]
        assert fake.committed == {("t", 0): 4}
    assert [r.offset for r in records] == list(range(10))


async def test_an_expelled_member_loses_its_partitions_and_comes_back(
    autojump_clock: MockClock, fake: FakeCluster, told: list[tuple[str, list[int]]]
) -> None:
    """They may be another's by now, so they are dropped, not committed; a commit in between is refused."""
    topic(fake, 1, 10)
    group = FakeGroup(fake)
    callbacks = {"on_lost": record(told, "lost"), "on_assigned": record(told, "assigned")}
    async with member(fake, heartbeat_interval_ms=100, auto_commit=False, **callbacks) as reader:
        await reader.poll(4)
        group.remove("member-1")
        with pytest.raises((UnknownMemberId, IllegalGeneration)):
            await reader.commit()
        await trio.sleep(1)
        assert [r.offset for r in await reader.poll(4)] == [0, 1, 2, 3]
    assert told == [("assigned", [0]), ("lost", [0]), ("assigned", [0])]


async def test_an_application_that_stops_polling_is_taken_out(
    autojump_clock: MockClock, fake: FakeCluster, told: list[tuple[str, list[int]]]
) -> None:
    """After `max_poll_interval_ms` it leaves, so that others go on; when it polls again it joins again."""
    topic(fake, 1, 10)
    group = FakeGroup(fake)
    settings: dict[str, Any] = {"heartbeat_interval_ms": 100, "max_poll_interval_ms": 2000}
    async with member(fake, on_lost=record(told, "lost"), **settings) as reader:
        await reader.poll(4)
        await trio.sleep(10)
        assert group.members == {}
        assert [r.offset for r in await reader.poll(2)] == [0, 1]
        assert len(group.members) == 1
    assert told == [("lost", [0])]


async def test_a_static_member_does_not_leave(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Its place is kept (KIP-345); and one who is fenced by a namesake is told so, and does not come back."""
    topic(fake, 1, 10)
    group = FakeGroup(fake)
    async with member(fake, group_instance_id="one") as reader:
        await reader.poll(4)
    assert len(group.members) == 1
    assert not fake.requests(ApiKey.LEAVE_GROUP)
    group.fenced = True
    async with member(fake, group_instance_id="one") as reader:
        for _ in range(2):
            with pytest.raises(FencedInstanceId):
                await reader.poll()


async def test_added_partitions_cause_a_rebalance(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """The leader watches the topics of all members."""
    logs = topic(fake, 1, 3)
    FakeGroup(fake)
    async with member(fake, metadata_max_age_ms=5000) as reader:
        assert len(await reader.poll()) == 3
        log = FakePartition()
        fill(log, 5)
        logs.append(log)
        assert len(await reader.poll()) == 5
        assert len(reader.assignment) == 2


async def test_a_changed_subscription_causes_a_rebalance(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Its partitions go, the new ones come."""
    topic(fake, 1, 3)
    fill(fake.add_topic("u")[0], 4)
    FakeGroup(fake)
    async with member(fake) as reader:
        assert len(await reader.poll()) == 3
        reader.subscribe(["u"])
        assert {r.topic for r in await reader.poll()} == {"u"}
        assert reader.assignment == {TopicPartition("u", 0)}


async def test_a_coordinator_that_moves_is_found(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """NOT_COORDINATOR, one that is still loading, lost connections: none of it reaches the application."""
    topic(fake, 1, 10)
    FakeGroup(fake)

    def loading(request: Any, proceed: Any) -> Any:
        one = Coordinator(key="g", node_id=-1, error_code=ErrorCode.COORDINATOR_NOT_AVAILABLE)
        return FindCoordinatorResponse(coordinators=[one])

    def moved(request: Any, proceed: Any) -> Any:
        from minibroker.protocol.messages.join_group import JoinGroupResponse

        return JoinGroupResponse(error_code=ErrorCode.NOT_COORDINATOR)

    fake.fault(ApiKey.FIND_COORDINATOR, loading, disconnect_before, None)
    fake.fault(ApiKey.JOIN_GROUP, moved, disconnect_before)
    fake.fault(ApiKey.SYNC_GROUP, disconnect_before)
    fake.fault(ApiKey.HEARTBEAT, disconnect_before)
    fake.fault(ApiKey.OFFSET_FETCH, disconnect_before)
    fake.fault(ApiKey.OFFSET_COMMIT, disconnect_before)
    async with member(fake, heartbeat_interval_ms=100) as reader:
        assert len(await reader.poll(4)) == 4
        await trio.sleep(1)
        assert len(await reader.poll(4)) == 4
    assert fake.committed == {("t", 0): 8}


async def test_a_group_can_keep_offsets_for_assigned_partitions(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Without joining it."""
    topic(fake, 2, 10)
    for _ in range(2):
        async with member(fake, topics=(), partitions=[T0]) as reader:
            assert len(await reader.poll(5)) == 5
    assert fake.committed == {("t", 0): 10}
    assert not fake.requests(ApiKey.JOIN_GROUP)


def test_an_unknown_assignor_is_named() -> None:
    """With those there are."""
    with pytest.raises(ValueError, match="of range, roundrobin, sticky, cooperative-sticky, found 'random'"):
        Consumer("localhost", group="g", assignors=["random"])
