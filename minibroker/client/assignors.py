"""Who gets which partitions: the four assignors of the classic protocol, as functions of members and partition counts.

The leader of a group runs one of them; the names and the members' metadata are Java's, so that any client may lead.
Members are taken in Java's order: static ones first, by instance id, then the others by member id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from minibroker.client.metadata import TopicPartition
from minibroker.client.subscription import (
    GENERATION_BYTES,
    NO_GENERATION,
    Members,
    Subscription,
    decode_sticky_user_data,
    encode_generation,
    encode_sticky_user_data,
)
from minibroker.protocol.errors import ProtocolError

Assignment = dict[str, list[TopicPartition]]
"""Member id → its partitions; every member is there."""

Counts = Mapping[str, int]
"""Topic → number of partitions; topics that do not exist are left out."""


def in_order(members: Members) -> list[str]:
    """Member ids in Java's order (`AbstractPartitionAssignor.MemberInfo`)."""
    return sorted(
        members, key=lambda member: (members[member].instance_id is None, members[member].instance_id, member)
    )


def subscribers(members: Members, counts: Counts) -> dict[str, list[str]]:
    """Topic → its subscribers in order, for the topics that exist."""
    by_topic: dict[str, list[str]] = {}
    for member in in_order(members):
        for topic in members[member].topics:
            if topic in counts:
                by_topic.setdefault(topic, []).append(member)
    return dict(sorted(by_topic.items()))


def assign_range(members: Members, counts: Counts) -> Assignment:
    """Per topic, consecutive partitions; the first members get one more if it does not come out even."""
    assignment: Assignment = {member: [] for member in members}
    for topic, takers in subscribers(members, counts).items():
        share, extra = divmod(counts[topic], len(takers))
        start = 0
        for place, member in enumerate(takers):
            end = start + share + (place < extra)
            assignment[member] += [TopicPartition(topic, index) for index in range(start, end)]
            start = end
    return assignment


def assign_round_robin(members: Members, counts: Counts) -> Assignment:
    """All partitions of all topics, dealt out one by one."""
    assignment: Assignment = {member: [] for member in members}
    order = in_order(members)
    place = 0
    for topic, takers in subscribers(members, counts).items():
        for index in range(counts[topic]):
            while order[place % len(order)] not in takers:
                place += 1
            assignment[order[place % len(order)]].append(TopicPartition(topic, index))
            place += 1
    return assignment


def assign_sticky(members: Members, counts: Counts) -> Assignment:
    """As even as can be, and among such assignments close to the last one.

    Everybody keeps what it had; what nobody has goes to whoever has least; then single partitions move from members
    that have at least two more than another who could take it.
    """
    takers = subscribers(members, counts)
    owners = _claims(members, counts)
    assignment: Assignment = {member: [] for member in members}
    for partition, owner in owners.items():
        assignment[owner].append(partition)
    load = {member: len(partitions) for member, partitions in assignment.items()}
    free = [
        TopicPartition(topic, index)
        for topic, able in sorted(takers.items(), key=lambda item: len(item[1]))
        for index in range(counts[topic])
        if TopicPartition(topic, index) not in owners
    ]
    for partition in free:
        member = min(takers[partition.topic], key=load.__getitem__)
        assignment[member].append(partition)
        load[member] += 1
    while _even_out(assignment, takers, load):
        pass
    return {member: sorted(partitions) for member, partitions in assignment.items()}


def _even_out(assignment: Assignment, takers: Mapping[str, list[str]], load: dict[str, int]) -> bool:
    """One pass over the members, the fullest first; whether anything moved. Each move makes the loads more equal."""
    moved = False
    for member in sorted(assignment, key=lambda name: -load[name]):
        for partition in sorted(assignment[member], reverse=True):
            other = min(takers[partition.topic], key=load.__getitem__)
            if load[other] + 1 < load[member]:
                assignment[member].remove(partition)
                assignment[other].append(partition)
                load[member] -= 1
                load[other] += 1
                moved = True
    return moved


def assign_cooperative_sticky(members: Members, counts: Counts) -> Assignment:
    """Like sticky, in two steps (KIP-429): a partition that changes hands is first given to nobody.

    Its owner gives it up and joins again; in the next generation it is free.
    """
    wanted = assign_sticky(members, counts)
    owner_of = {partition: member for member, subscription in members.items() for partition in subscription.owned}
    owners = {**owner_of, **_claims(members, counts)}
    return {
        member: [partition for partition in partitions if owners.get(partition, member) == member]
        for member, partitions in wanted.items()
    }


def _claims(members: Members, counts: Counts) -> dict[TopicPartition, str]:
    """Who rightly claims which partition: of several the one of the latest generation, of equals nobody."""
    claims: dict[TopicPartition, tuple[int, str | None]] = {}
    for member in in_order(members):
        subscription = members[member]
        owned, generation = _owned(subscription)
        for partition in owned:
            if partition.topic not in subscription.topics or partition.partition >= counts.get(partition.topic, 0):
                continue
            best, _ = claims.get(partition, (NO_GENERATION - 1, None))
            if generation > best:
                claims[partition] = generation, member
            elif generation == best:
                claims[partition] = generation, None
    return {partition: member for partition, (_, member) in claims.items() if member is not None}


def _owned(subscription: Subscription) -> tuple[frozenset[TopicPartition], int]:
    """What a member says it owns: in the subscription, or where the StickyAssignor keeps it."""
    data = subscription.user_data or b""
    if subscription.owned:
        generation = subscription.generation
        if generation == NO_GENERATION and len(data) == GENERATION_BYTES:
            generation = int.from_bytes(data, signed=True)
        return subscription.owned, generation
    try:
        return decode_sticky_user_data(data) if len(data) > GENERATION_BYTES else (frozenset(), NO_GENERATION)
    except ProtocolError:  # another assignor's user data
        return frozenset(), NO_GENERATION


@attrs.frozen
class Assignor:
    """An assignor by its name in the group protocol."""

    name: str
    assign: Callable[[Members, Counts], Assignment]
    cooperative: bool = False
    """Members keep their partitions while they join."""

    def user_data(self, owned: frozenset[TopicPartition], generation: int) -> bytes | None:
        """What its subscriptions carry besides."""
        if self.name == "sticky":
            return encode_sticky_user_data(owned, generation) if owned else None
        return encode_generation(generation) if self.cooperative else None


ASSIGNORS = {
    assignor.name: assignor
    for assignor in (
        Assignor("range", assign_range),
        Assignor("roundrobin", assign_round_robin),
        Assignor("sticky", assign_sticky),
        Assignor("cooperative-sticky", assign_cooperative_sticky, cooperative=True),
    )
}


def assignors_named(names: Iterable[str]) -> tuple[Assignor, ...]:
    """Assignors in order of preference. Raises ValueError for a name that is none."""
    names = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in names if name not in ASSIGNORS]
    if unknown or not names:
        raise ValueError(f"expected assignors of {', '.join(ASSIGNORS)}, found {unknown[0] if unknown else 'none'!r}")
    return tuple(ASSIGNORS[name] for name in names)
