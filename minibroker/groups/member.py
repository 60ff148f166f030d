"""A member of a group: what it said of itself, which request of it is held, and when its session ends."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

import attrs

from minibroker.groups.records import MemberMetadata, text_bytes

Waiter = object
"""Stands for a request that is held; whoever drives the group gives it and gets it back with the answer."""

Protocols = Sequence[tuple[str, bytes]]
"""Names of protocols in the order in which a member prefers them, each with what the member has to say for it."""

NO_ASSIGNMENT: Final = b""

MEMBER_BYTES: Final = 2_000
"""Of memory for a member with short names that says nothing."""
PROTOCOL_BYTES: Final = 250
"""Of memory for a protocol beside its name and what is said for it."""


def size_bytes(client_id: str, instance_id: str | None, protocols: Protocols) -> int:
    """About how much memory a member takes, its assignment not included."""
    # Its member id is made of either, and kept thrice.
    names_bytes = 4 * max(text_bytes(client_id), text_bytes(instance_id or ""))
    said_bytes = sum(PROTOCOL_BYTES + text_bytes(name) + len(metadata) for name, metadata in protocols)
    return MEMBER_BYTES + names_bytes + said_bytes


@attrs.define(eq=False, kw_only=True)
class Member:
    """One member. A static one (KIP-345) has an instance id that outlives its member ids."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: Protocols
    counted_bytes: int = 0
    """How much memory its group reckons with."""
    assignment: bytes = NO_ASSIGNMENT
    held_join: Waiter | None = None
    held_sync: Waiter | None = None
    is_new: bool = False
    """It has not seen a generation yet, hence cannot send heartbeats and may not even know its id."""
    session_deadline_ms: int | None = None
    """When it is removed unless it is heard of; None while a held request stands for its heartbeats."""

    @property
    def is_static(self) -> bool:
        """Whether it keeps its place when it goes away without a leave."""
        return self.instance_id is not None

    @property
    def is_excused(self) -> bool:
        """Whether a held request proves it alive: it cannot send heartbeats behind one on the same connection."""
        return not self.is_new and (self.held_join is not None or self.held_sync is not None)

    def metadata_for(self, protocol: str | None) -> bytes:
        """What it said for `protocol`, which must be one of its own."""
        return next(metadata for name, metadata in self.protocols if name == protocol)

    def vote(self, candidates: Container[str]) -> str:
        """The candidate that it prefers. There must be one."""
        return next(name for name, _ in self.protocols if name in candidates)

    def to_metadata(self, protocol: str | None) -> MemberMetadata:
        """The member as it is written to the log."""
        return MemberMetadata(
            member_id=self.member_id,
            group_instance_id=self.instance_id,
            client_id=self.client_id,
            client_host=self.client_host,
            rebalance_timeout_ms=self.rebalance_timeout_ms,
            session_timeout_ms=self.session_timeout_ms,
            subscription=self.metadata_for(protocol),
            assignment=self.assignment,
        )

    @classmethod
    def from_metadata(cls, metadata: MemberMetadata, protocol: str | None) -> Member:
        """The member as it is after a restart: it supports the protocol in use, until it joins again and says more."""
        return cls(
            member_id=metadata.member_id,
            instance_id=metadata.group_instance_id,
            client_id=metadata.client_id,
            client_host=metadata.client_host,
            rebalance_timeout_ms=metadata.rebalance_timeout_ms,
            session_timeout_ms=metadata.session_timeout_ms,
            protocols=((protocol or "", metadata.subscription),),
            assignment=metadata.assignment,
        )
