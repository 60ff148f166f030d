"""A group under a random life: clients that come, go, change and fall silent, restarts, and time.

The clients do what Kafka's do; the leader among them shares all partitions out. After every step:

- no partition has two owners in one generation, over the whole life of the group, restarts included;
- generations only rise, and one generation has one set of members;
- what a restart would read from the log is what the machine goes by, and the live group agrees with it.

And whenever the clients are left alone, the group becomes stable with every partition owned.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from minibroker.config.settings import BrokerSettings
from minibroker.groups import formats
from minibroker.groups.records import CommittedOffset, OffsetRecord
from minibroker.protocol.errors import ErrorCode
from tests.groups.driver import GROUP, Driver

PARTITIONS = range(5)
START_OVER = (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID)


@attrs.define(eq=False)
class Client:
    """A consumer as the group sees it."""

    instance_id: str | None = None
    metadata: bytes = b"r"
    member_id: str = ""
    generation: int = -1
    held_join: int | None = None
    held_sync: int | None = None
    owned: tuple[int, ...] = ()
    is_member: bool = False


class GroupLife(RuleBasedStateMachine):
    """See the module."""

    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(settings=BrokerSettings(group_initial_rebalance_delay_ms=100))
        self.alive: list[Client] = []
        self.owners: dict[tuple[int, int], str] = {}
        self.membership: dict[int, frozenset[str]] = {}
        self.generation = 0
        self.instances = 0
        # An offset that is never read and never expires: the group is not deleted, and its generations go on.
        self.store(OffsetRecord(GROUP, "kept", 0, CommittedOffset(offset=0, expire_timestamp_ms=2**63 - 1)))

    # What happens ---------------------------------------------------------------------------------------------------

    @rule(target=clients, static=st.booleans())
    def start(self, static: bool) -> Client:
        self.instances += static
        client = Client(instance_id=f"i{self.instances}" if static else None)
        self.alive.append(client)
        self.act(client)
        return client

    @rule(client=clients)
    def go_on(self, client: Client) -> None:
        self.act(client)

    @rule(client=clients, metadata=st.sampled_from([b"r", b"s"]))
    def change(self, client: Client, metadata: bytes) -> None:
        if client.is_member:
            client.metadata = metadata
            self.join(client)

    @rule(client=clients)
    def lose_connection(self, client: Client) -> None:
        """The answer to a held request never arrives; the client tries again later."""
        client.held_join = client.held_sync = None
        client.is_member = False

    @rule(client=clients)
    def restart_client(self, client: Client) -> None:
        """It comes back without a memory; a static one still knows its name."""
        client.__init__(instance_id=client.instance_id, metadata=client.metadata)  # type: ignore[misc]

    @rule(client=consumes(clients))
    def leave(self, client: Client) -> None:
        self.driver.leave((client.member_id, client.instance_id))
        self.alive.remove(client)

    @rule(client=consumes(clients))
    def fall_silent(self, client: Client) -> None:
        self.alive.remove(client)

    @rule(milliseconds=st.sampled_from([50, 100, 5_000, 10_000, 60_000]))
    def wait(self, milliseconds: int) -> None:
        self.driver.advance(milliseconds)

    @rule(milliseconds=st.sampled_from([5_000, 10_000, 60_000, 600_000]))
    def fall_behind(self, milliseconds: int) -> None:
        """The broker looks at its deadlines late: many may have come at once."""
        self.driver.now_ms += milliseconds
        self.driver.advance(0)

    @rule()
    def restart_broker(self) -> None:
        self.driver.restart()
        for client in self.alive:
            client.held_join = client.held_sync = None
            client.is_member = client.is_member and bool(client.owned)

    @rule(partition=st.sampled_from(PARTITIONS), client=clients)
    def commit(self, partition: int, client: Client) -> None:
        if self.driver.commit(client.member_id, client.generation) == ErrorCode.NONE:
            self.store(OffsetRecord(GROUP, "t", partition, CommittedOffset(offset=1, commit_timestamp_ms=0)))

    @rule()
    def expire_offsets(self) -> None:
        machine, now_ms = self.driver.machine, self.driver.now_ms
        for record in [one for group_id in machine.group_ids() for one in machine.expire_offsets(group_id, now_ms)]:
            self.store(record)

    @rule()
    def settle(self) -> None:
        """Left alone for longer than any timeout, the clients that are there share all partitions."""
        for _ in range(60):
            for client in self.alive:
                self.act(client)
            self.driver.advance(3_000)
        for client in self.alive:
            self.act(client)
        if self.alive:
            assert self.driver.state == "Stable"
            assert sorted(partition for client in self.alive for partition in client.owned) == list(PARTITIONS)
            assert len(self.driver.group.members) == len(self.alive)
        else:
            assert self.driver.state == "Empty"

    # What must hold -------------------------------------------------------------------------------------------------

    @invariant()
    def log_and_image_agree(self) -> None:
        assert self.driver.replayed() == self.driver.machine.image

    @invariant()
    def image_and_live_group_agree(self) -> None:
        group = self.driver.machine.live.get(GROUP)
        metadata = self.driver.machine.image.groups.get(GROUP)
        if group is None:
            assert metadata is None or metadata.members == ()
            return
        assert metadata is not None
        assert group.generation == metadata.generation
        if group.state.value in ("Stable", "CompletingRebalance"):
            assert {member.member_id for member in metadata.members} == group.members.keys()
        if group.state.value == "Stable":
            assert attrs.evolve(metadata, state_timestamp_ms=-1) == group.to_metadata(synced=True)

    @invariant()
    def generations_rise(self) -> None:
        metadata = self.driver.machine.image.groups.get(GROUP)
        if metadata is not None:
            assert metadata.generation >= self.generation
            self.generation = metadata.generation

    @invariant()
    def deadlines_are_not_missed(self) -> None:
        group = self.driver.machine.live.get(GROUP)
        if group is not None:
            deadlines = [member.session_deadline_ms for member in group.members.values()]
            deadlines += [group.join_deadline_ms, group.sync_deadline_ms, *group.expected.values()]
            known = [deadline for deadline in deadlines if deadline is not None]
            assert not known or (group.wake_ms is not None and group.wake_ms <= min(known))

    # What a client does ---------------------------------------------------------------------------------------------

    def act(self, client: Client) -> None:
        """The next step of a client, if it is not waiting for an answer."""
        if client.held_join is not None:
            if client.held_join in self.driver.answers:
                self.joined(client, self.driver.answers[client.held_join])
        elif client.held_sync is not None:
            if client.held_sync in self.driver.answers:
                self.synced(client, self.driver.answers[client.held_sync])
        elif client.is_member:
            error = self.driver.heartbeat(client.member_id, client.generation, client.instance_id)
            if error != ErrorCode.NONE:
                self.start_over(client, error)
                self.join(client)
        else:
            self.join(client)

    def start_over(self, client: Client, error: int) -> None:
        client.is_member = False
        client.owned = ()
        if error in START_OVER:
            client.member_id = ""

    def join(self, client: Client) -> None:
        client.is_member = False
        client.held_sync = None
        protocols = (("range", client.metadata),)
        client.held_join = self.driver.join(client.member_id, instance_id=client.instance_id, protocols=protocols)
        self.act(client)

    def joined(self, client: Client, answer: Any) -> None:
        client.held_join = None
        if answer.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            client.member_id = answer.member_id
            self.join(client)
        elif answer.error_code != ErrorCode.NONE:
            self.start_over(client, answer.error_code)
        else:
            client.member_id, client.generation = answer.member_id, answer.generation_id
            self.sync(client, answer)

    def sync(self, client: Client, answer: Any) -> None:
        assignments = {}
        if answer.leader == answer.member_id and not answer.skip_assignment:
            members = frozenset(member.member_id for member in answer.members)
            assert self.membership.setdefault(answer.generation_id, members) == members
            shares: dict[str, list[int]] = {member_id: [] for member_id in sorted(members)}
            for partition in PARTITIONS:
                shares[sorted(members)[partition % len(members)]].append(partition)
            assignments = {member_id: bytes(share) for member_id, share in shares.items()}
        client.held_sync = self.driver.sync(
            client.member_id, client.generation, assignments, instance_id=client.instance_id
        )
        self.act(client)

    def synced(self, client: Client, answer: Any) -> None:
        client.held_sync = None
        if answer.error_code != ErrorCode.NONE:
            self.start_over(client, answer.error_code)
            return
        client.is_member, client.owned = True, tuple(answer.assignment)
        for partition in client.owned:
            owner = client.instance_id or client.member_id
            assert self.owners.setdefault((client.generation, partition), owner) == owner

    def store(self, record: Any) -> None:
        self.driver.log.append(formats.encode(record))
        self.driver.machine.replay(record)


TestGroupLife = GroupLife.TestCase
TestGroupLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
