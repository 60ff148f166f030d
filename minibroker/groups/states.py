"""The states of a group in the classic protocol, and every way from one to another.

A group goes round: members join (PreparingRebalance), the broker closes the round, raises the generation and tells the
leader who is there (CompletingRebalance), the leader sends everybody's assignment (Stable). Whatever changes the set of
members, or what one of them wants, starts the next round. A group that lost its last member is Empty and keeps its
generation and its committed offsets.

What happens to a group is an `Event`; `TRANSITIONS` says where it leads. An event that is no key there cannot happen in
that state: it is a bug of ours, never a client's doing. What a client may do in which state is decided before, and the
tables below `TRANSITIONS` answer for it.

Source: Apache Kafka, ClassicGroupState; KIP-62 (session and rebalance timeouts), KIP-134 (initial rebalance delay),
KIP-345 (static members), KIP-394 (member ids), KIP-800.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from minibroker.protocol.errors import ErrorCode


class State(Enum):
    """Where a group stands. The values are the names that clients see."""

    EMPTY = "Empty"
    """No members. Offsets may be committed by anybody who claims no generation."""

    PREPARING_REBALANCE = "PreparingRebalance"
    """JoinGroup requests are held until all members have (re)joined or the rebalance timeout is over."""

    COMPLETING_REBALANCE = "CompletingRebalance"
    """The generation is settled; SyncGroup requests are held until the leader's, which brings the assignments."""

    STABLE = "Stable"
    """Everybody can fetch its assignment."""

    DEAD = "Dead"
    """Deleted, or no longer kept by this broker. Clients see it of groups that never were."""


class Event(Enum):
    """What can happen to a group. The values are the words of the diagram."""

    MEMBERSHIP_CHANGED = "a member joins, changes, leaves, fails"
    """A new member; a known one with other protocols; the leader again; a leave; a session or sync timeout."""

    JOINED = "all have joined, or the time is up"
    """The joining round ends with members."""

    JOINED_BY_NOBODY = "nobody is left"
    """The joining round ends without any."""

    LEADER_SYNCED = "the leader sends the assignments"

    DELETED = "deleted, or its last offset expired"

    UNLOADED = "the broker lets go of it"
    """At shutdown, or when a change could not be written to the log."""


_S, _E = State, Event

TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (_S.EMPTY, _E.MEMBERSHIP_CHANGED): _S.PREPARING_REBALANCE,
        (_S.EMPTY, _E.DELETED): _S.DEAD,
        (_S.EMPTY, _E.UNLOADED): _S.DEAD,
        (_S.PREPARING_REBALANCE, _E.MEMBERSHIP_CHANGED): _S.PREPARING_REBALANCE,
        (_S.PREPARING_REBALANCE, _E.JOINED): _S.COMPLETING_REBALANCE,
        (_S.PREPARING_REBALANCE, _E.JOINED_BY_NOBODY): _S.EMPTY,
        (_S.PREPARING_REBALANCE, _E.UNLOADED): _S.DEAD,
        (_S.COMPLETING_REBALANCE, _E.MEMBERSHIP_CHANGED): _S.PREPARING_REBALANCE,
        (_S.COMPLETING_REBALANCE, _E.LEADER_SYNCED): _S.STABLE,
        (_S.COMPLETING_REBALANCE, _E.UNLOADED): _S.DEAD,
        (_S.STABLE, _E.MEMBERSHIP_CHANGED): _S.PREPARING_REBALANCE,
        (_S.STABLE, _E.UNLOADED): _S.DEAD,
    }
)

HEARTBEAT_ANSWERS: Final[Mapping[State, ErrorCode]] = MappingProxyType(
    {
        _S.EMPTY: ErrorCode.UNKNOWN_MEMBER_ID,
        _S.PREPARING_REBALANCE: ErrorCode.REBALANCE_IN_PROGRESS,
        # Members start to send heartbeats once they know the generation, before the leader has synced.
        _S.COMPLETING_REBALANCE: ErrorCode.NONE,
        _S.STABLE: ErrorCode.NONE,
        _S.DEAD: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    }
)
"""What a heartbeat with the right member id and generation hears."""

COMMIT_ANSWERS: Final[Mapping[State, ErrorCode]] = MappingProxyType(
    {
        _S.EMPTY: ErrorCode.UNKNOWN_MEMBER_ID,
        # The members may still commit what they did in the generation that is ending.
        _S.PREPARING_REBALANCE: ErrorCode.NONE,
        # Its partitions may belong to somebody else by now: the member has to wait for its assignment.
        _S.COMPLETING_REBALANCE: ErrorCode.REBALANCE_IN_PROGRESS,
        _S.STABLE: ErrorCode.NONE,
        _S.DEAD: ErrorCode.COORDINATOR_NOT_AVAILABLE,
    }
)
"""What an OffsetCommit with the right member id and generation hears."""


def diagram() -> str:
    """The table as a Mermaid state diagram, for docs/groups.md."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.EMPTY.value}"]
    lines += [f"    {before.value} --> {after.value}: {event.value}" for (before, event), after in TRANSITIONS.items()]
    lines.append(f"    {State.DEAD.value} --> [*]")
    return "\n".join(lines)
