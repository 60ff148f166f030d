"""The assignors: what every assignment must be, and what each of them promises besides."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from minibroker.client.assignors import (
    ASSIGNORS,
    Assignment,
    assign_cooperative_sticky,
    assign_range,
    assign_round_robin,
    assign_sticky,
)
from minibroker.client.metadata import TopicPartition
from minibroker.client.subscription import Subscription, encode_sticky_user_data

TOPICS = ("a", "b", "c")
counts = st.dictionaries(st.sampled_from(TOPICS), st.integers(1, 12), min_size=1)
subscriptions = st.builds(
    lambda topics, instance: Subscription(topics=tuple(sorted(topics)), instance_id=instance),
    st.sets(st.sampled_from(TOPICS), min_size=1),
    st.none() | st.sampled_from("xyz"),
)
groups = st.dictionaries(st.text("mn012", min_size=1, max_size=4), subscriptions, min_size=1, max_size=8)
alike = st.integers(1, 8).map(lambda n: {f"m{i}": Subscription(topics=TOPICS) for i in range(n)})


def owners(assignment: Assignment) -> dict[TopicPartition, str]:
    """Partition → member; fails if there are two."""
    found: dict[TopicPartition, str] = {}
    for member, partitions in assignment.items():
        for partition in partitions:
            assert partition not in found, f"{partition} has two owners"
            found[partition] = member
    return found


def after(members: dict[str, Subscription], assignment: Assignment, generation: int) -> dict[str, Subscription]:
    """The members as they join next, with what they have."""
    return {
        member: Subscription(
            topics=subscription.topics,
            owned=frozenset(assignment.get(member, ())),
            generation=generation,
            instance_id=subscription.instance_id,
        )
        for member, subscription in members.items()
    }


@given(st.sampled_from(sorted(ASSIGNORS)), groups, counts)
def test_every_partition_that_someone_wants_has_one_owner_who_wants_it(
    name: str, members: dict[str, Subscription], counts: dict[str, int]
) -> None:
    """Valid and complete, whatever the subscriptions."""
    assignment = ASSIGNORS[name].assign(members, counts)
    assert set(assignment) == set(members)
    wanted = {topic for subscription in members.values() for topic in subscription.topics}
    found = owners(assignment)
    assert set(found) == {TopicPartition(t, i) for t, n in counts.items() if t in wanted for i in range(n)}
    assert all(partition.topic in members[member].topics for partition, member in found.items())


def test_range_is_javas() -> None:
    """Per topic, in runs, the first members get the extra ones; static members come first."""
    members = {
        "b": Subscription(topics=("a", "b")),
        "a": Subscription(topics=("a",)),
        "z": Subscription(topics=("a",), instance_id="i"),
    }
    assignment = assign_range(members, {"a": 5, "b": 2, "gone": 0})
    assert {m: [f"{p.topic}{p.partition}" for p in ps] for m, ps in assignment.items()} == {
        "z": ["a0", "a1"],
        "a": ["a2", "a3"],
        "b": ["a4", "b0", "b1"],
    }


def test_round_robin_is_javas() -> None:
    """All partitions in turn, passing over members that do not want the topic (the example of Java's documentation)."""
    members = {
        "C0": Subscription(topics=("t0",)),
        "C1": Subscription(topics=("t0", "t1")),
        "C2": Subscription(topics=("t0", "t1", "t2")),
    }
    assignment = assign_round_robin(members, {"t0": 1, "t1": 2, "t2": 3})
    assert {m: [f"{p.topic}{p.partition}" for p in ps] for m, ps in assignment.items()} == {
        "C0": ["t00"],
        "C1": ["t10"],
        "C2": ["t11", "t20", "t21", "t22"],
    }


@given(alike, counts)
def test_sticky_is_even_among_equals(members: dict[str, Subscription], counts: dict[str, int]) -> None:
    """No member has two more than another."""
    loads = [len(partitions) for partitions in assign_sticky(members, counts).values()]
    assert max(loads) - min(loads) <= 1


@given(groups, counts)
def test_sticky_changes_nothing_without_need(members: dict[str, Subscription], counts: dict[str, int]) -> None:
    """The same members and partitions again: the same assignment."""
    first = assign_sticky(members, counts)
    assert assign_sticky(after(members, first, 1), counts) == first


@given(alike, counts, st.data())
def test_survivors_keep_what_they_have(
    members: dict[str, Subscription], counts: dict[str, int], data: st.DataObject
) -> None:
    """When members leave, partitions move only from those who left."""
    first = assign_sticky(members, counts)
    leaving = data.draw(st.sets(st.sampled_from(sorted(members)), max_size=len(members) - 1))
    left = {member: sub for member, sub in after(members, first, 1).items() if member not in leaving}
    second = assign_sticky(left, counts)
    assert all(set(first[member]) <= set(second[member]) for member in left)


@given(groups, groups, counts, counts)
def test_cooperative_never_gives_away_what_another_member_holds(
    before: dict[str, Subscription], joined: dict[str, Subscription], counts: dict[str, int], more: dict[str, int]
) -> None:
    """While members change in any way, nobody is given a partition that another member has not given up yet."""
    holding = after(before, assign_cooperative_sticky(before, counts), 1)
    members = {**holding, **{member: sub for member, sub in joined.items() if member not in holding}}
    for generation in (2, 3, 4):
        held = {partition: member for member, sub in members.items() for partition in sub.owned}
        assignment = assign_cooperative_sticky(members, more)
        for partition, member in owners(assignment).items():
            assert held.get(partition, member) == member
        members = after(members, assignment, generation)
    wanted = {topic for sub in members.values() for topic in sub.topics}
    assert set(owners(assignment)) == {TopicPartition(t, i) for t, n in more.items() if t in wanted for i in range(n)}


def test_the_latest_generation_owns_a_disputed_partition() -> None:
    """A member that missed a generation has lost what another one was given in it."""
    p = TopicPartition("a", 0)
    old = Subscription(topics=("a",), owned=frozenset({p}), generation=3)
    new = Subscription(topics=("a",), owned=frozenset({p}), generation=4)
    assert assign_sticky({"old": old, "new": new}, {"a": 1}) == {"old": [], "new": [p]}


def test_the_user_data_of_javas_sticky_assignor_counts() -> None:
    """An eager member owns nothing while it joins, but says what it had."""
    mine = frozenset(TopicPartition("a", i) for i in (1, 3))
    members = {
        "x": Subscription(topics=("a",)),
        "y": Subscription(topics=("a",), user_data=encode_sticky_user_data(mine, 7)),
    }
    assert assign_sticky(members, {"a": 4})["y"] == sorted(mine)


def test_garbage_in_user_data_is_nobodys_claim() -> None:
    """Another assignor's user data does no harm."""
    members = {"x": Subscription(topics=("a",), user_data=b"\xff" * 9)}
    assert len(assign_sticky(members, {"a": 4})["x"]) == 4


def test_two_hundred_members_over_a_thousand_partitions() -> None:
    """A big group, from nothing and after a change, comes out even."""
    members = {f"m{i}": Subscription(topics=("a",)) for i in range(200)}
    first = assign_sticky(members, {"a": 1000})
    assert set(Counter(map(len, first.values()))) == {5}
    more = {**after(members, first, 1), "new": Subscription(topics=("a",))}
    loads = [len(partitions) for partitions in assign_sticky(more, {"a": 1000}).values()]
    assert max(loads) - min(loads) <= 1
