"""Committed offsets: what is stored, what expires, what deletion takes away."""

import struct
from typing import NoReturn

import attrs
import pytest

from minibroker.config.settings import BrokerSettings
from minibroker.groups import formats
from minibroker.groups.image import Image, TopicOffsets
from minibroker.groups.machine import GroupMachine
from minibroker.groups.offsets import MINUTE_MS, committed_offset, topic_tombstones
from minibroker.groups.records import (
    CommittedOffset,
    GroupMetadata,
    GroupRecord,
    GroupsRecord,
    MemberMetadata,
    OffsetRecord,
)
from minibroker.groups.subscriptions import subscribed_topics
from minibroker.protocol.errors import (
    GroupIdNotFound,
    InvalidGroupId,
    NonEmptyGroup,
    OffsetMetadataTooLarge,
)
from tests.groups.driver import GROUP, Driver

RETENTION_MS = 7 * 24 * 60 * MINUTE_MS
SETTINGS = BrokerSettings()


@pytest.fixture
def driver() -> Driver:
    return Driver()


def subscription(*topics: str) -> bytes:
    names = b"".join(struct.pack(">h", len(topic)) + topic.encode() for topic in topics)
    return struct.pack(">hi", 0, len(topics)) + names + b"\xff\xff\xff\xff"


def committed(driver: Driver, *partitions: tuple[str, int], expire_timestamp_ms: int = -1) -> None:
    """Let the group have committed for `partitions` now."""
    for topic, partition in partitions:
        value = CommittedOffset(offset=1, commit_timestamp_ms=driver.now_ms, expire_timestamp_ms=expire_timestamp_ms)
        replay(driver, OffsetRecord(GROUP, topic, partition, value))


def replay(driver: Driver, *records: GroupsRecord) -> None:
    for record in records:
        driver.log.append(formats.encode(record))
        driver.machine.replay(record)


def expire(driver: Driver) -> set[tuple[str, int]]:
    """Look for expired offsets; which are left?"""
    for group_id in driver.machine.group_ids():
        replay(driver, *driver.machine.expire_offsets(group_id, driver.now_ms))
    assert driver.replayed() == driver.machine.image
    return left(driver.machine.image)


def left(image: Image) -> set[tuple[str, int]]:
    return {(topic, partition) for _, topic, partition, _ in image.committed()}


@pytest.mark.parametrize("offset", [0, 2**63 - 1, -1, -(2**63)])
def test_any_offset_is_stored(offset: int) -> None:
    """Negative ones and those the log does not have, with leader epoch and metadata."""
    value = committed_offset(SETTINGS, offset, 4, "note", -1, 99)
    assert value == CommittedOffset(offset=offset, leader_epoch=4, metadata="note", commit_timestamp_ms=99)


def test_null_metadata_comes_back_empty() -> None:
    """As from Kafka."""
    assert committed_offset(SETTINGS, 1, -1, None, -1, 0).metadata == ""


def test_metadata_is_limited() -> None:
    """4,096 characters by default, whatever their bytes; and never more bytes than the format holds."""
    assert committed_offset(SETTINGS, 1, -1, "é" * 4096, -1, 0).metadata == "é" * 4096
    with pytest.raises(OffsetMetadataTooLarge):
        committed_offset(SETTINGS, 1, -1, "e" * 4097, -1, 0)
    with pytest.raises(OffsetMetadataTooLarge):
        committed_offset(BrokerSettings(offset_metadata_max_bytes=2**20), 1, -1, "e" * 2**15, -1, 0)


@pytest.mark.parametrize(("retention_ms", "expires"), [(-1, -1), (0, 1_000), (5, 1_005), (2**63 - 1, 2**63 - 1)])
def test_a_client_may_ask_for_a_retention(retention_ms: int, expires: int) -> None:
    """Old clients could (OffsetCommit v2 to v4); a silly one does not break the format."""
    assert committed_offset(SETTINGS, 1, -1, "", retention_ms, 1_000).expire_timestamp_ms == expires


# Expiry -------------------------------------------------------------------------------------------------------------


def test_offsets_of_a_group_that_never_had_members_expire_one_by_one(driver: Driver) -> None:
    """Each so long after its commit; the group goes with the last one."""
    committed(driver, ("a", 0))
    driver.advance(1_000)
    committed(driver, ("a", 1))
    driver.advance(RETENTION_MS - 1_001)
    assert expire(driver) == {("a", 0), ("a", 1)}
    driver.advance(1)
    assert expire(driver) == {("a", 1)}
    driver.advance(1_000)
    assert expire(driver) == set()
    assert driver.machine.group_ids() == []


def test_offsets_of_an_empty_group_expire_after_its_last_member_left(driver: Driver) -> None:
    """However old the commits are by then; the group goes with them."""
    members = driver.stable(session_timeout_ms=1_800_000)
    committed(driver, ("a", 0))
    driver.advance(100_000)
    driver.leave(*members)
    driver.advance(RETENTION_MS - 1)
    committed(driver, ("a", 1))
    assert expire(driver) == {("a", 0), ("a", 1)}
    driver.advance(1)
    assert expire(driver) == set()
    assert driver.machine.group_ids() == []


def test_offsets_that_members_read_do_not_expire(driver: Driver) -> None:
    """Only those of topics that nobody in the group subscribes to any more."""
    (member_id,) = driver.stable(protocols=(("range", subscription("read")),))
    committed(driver, ("read", 0), ("dropped", 0))
    driver.machine.live[GROUP].members[member_id].session_deadline_ms = None
    driver.now_ms += RETENTION_MS
    assert expire(driver) == {("read", 0)}


def test_a_group_with_members_outlives_its_offsets(driver: Driver) -> None:
    """Even if it reads nothing any more."""
    (member_id,) = driver.stable(protocols=(("range", subscription()),))
    committed(driver, ("dropped", 0))
    driver.machine.live[GROUP].members[member_id].session_deadline_ms = None
    driver.now_ms += RETENTION_MS
    assert expire(driver) == set()
    assert driver.state == "Stable"


@pytest.mark.parametrize("changes", [{"protocol_type": "connect"}, {"protocols": (("range", b"\0"),)}])
def test_offsets_of_members_whose_subscriptions_are_unknown_do_not_expire(
    driver: Driver, changes: dict[str, object]
) -> None:
    """Other protocol types, and consumers that speak in riddles."""
    driver.stable(**changes)  # type: ignore[arg-type]
    committed(driver, ("a", 0))
    driver.now_ms += RETENTION_MS
    assert expire(driver) == {("a", 0)}


def test_offsets_do_not_expire_in_a_round(driver: Driver) -> None:
    """Who will read what is just being found out."""
    leader, _ = driver.stable(2, protocols=(("range", subscription()),))
    committed(driver, ("a", 0))
    driver.join(leader, protocols=(("range", subscription()),))
    driver.now_ms += RETENTION_MS
    assert driver.state == "PreparingRebalance"
    assert expire(driver) == {("a", 0)}


def test_an_offset_with_an_expiry_of_its_own_expires_then(driver: Driver) -> None:
    """Whether that is earlier or later than the broker's."""
    committed(driver, ("a", 0), expire_timestamp_ms=driver.now_ms + 10)
    committed(driver, ("a", 1), expire_timestamp_ms=driver.now_ms + 2 * RETENTION_MS)
    driver.advance(10)
    assert expire(driver) == {("a", 1)}
    driver.advance(RETENTION_MS)
    assert expire(driver) == {("a", 1)}


def test_a_group_that_never_was_more_than_a_member_id_goes(driver: Driver) -> None:
    """The first step of a join makes a group; once the id has run out nothing keeps it."""
    driver.new_id()
    assert expire(driver) == set()
    assert driver.machine.group_ids() == [GROUP]
    driver.advance(10_000)
    expire(driver)
    assert driver.machine.group_ids() == []


def test_a_bounded_number_of_names_is_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """In all members together: what a group with more reads is not known. Members that say the same count once."""
    monkeypatch.setattr("minibroker.groups.subscriptions.MAX_NAMES", 10)
    said = [subscription(*(f"{member}{n}" for n in range(5))) for member in "aaabbc"]
    members = tuple(
        MemberMetadata(
            member_id=str(number),
            client_id="",
            client_host="",
            rebalance_timeout_ms=1,
            session_timeout_ms=1,
            subscription=subscription,
            assignment=b"",
        )
        for number, subscription in enumerate(said)
    )
    group = GroupMetadata(protocol_type="consumer", protocol="range", members=members)
    assert len(subscribed_topics(attrs.evolve(group, members=members[:5])) or ()) == 10
    assert subscribed_topics(group) is None


# Deletion -----------------------------------------------------------------------------------------------------------


def test_a_group_without_members_can_be_deleted(driver: Driver) -> None:
    """With all its offsets; joined again, it begins at the first generation."""
    driver.leave(*driver.stable())
    committed(driver, ("a", 0), ("b", 1))
    replay(driver, *driver.machine.delete_group(GROUP))
    assert driver.machine.image == driver.replayed() == Image()
    driver.stable()
    assert driver.group.generation == 1


def test_a_group_with_members_or_none_at_all_cannot_be_deleted(driver: Driver) -> None:
    """The first is in use, the second is not there."""
    with pytest.raises(GroupIdNotFound):
        driver.machine.delete_group(GROUP)
    driver.stable()
    with pytest.raises(NonEmptyGroup):
        driver.machine.delete_group(GROUP)


def test_deleting_a_group_takes_the_member_ids_back_that_it_gave_out(driver: Driver) -> None:
    """A group that somebody is about to join is Empty all the same."""
    member_id = driver.new_id()
    replay(driver, *driver.machine.delete_group(GROUP))
    assert driver.machine.live == {}
    assert driver.answers[driver.join(member_id)].error_code == 25


def test_offsets_that_nobody_reads_can_be_deleted(driver: Driver) -> None:
    """Of subscribed topics they cannot; for partitions without an offset nothing is written."""
    driver.stable(protocols=(("range", subscription("read")),))
    committed(driver, ("read", 0), ("dropped", 0), ("dropped", 1))
    driver.machine.check_offset_deletion(GROUP)
    assert driver.machine.topics_read(GROUP) == {"read"}
    tombstones = driver.machine.delete_offsets(GROUP, "dropped", [0, 7])
    assert list(tombstones) == [OffsetRecord(GROUP, "dropped", 0, None)]


def test_offsets_of_an_empty_group_can_all_be_deleted(driver: Driver) -> None:
    """Nobody reads anything."""
    driver.leave(*driver.stable(protocols=(("range", subscription("read")),)))
    committed(driver, ("read", 0))
    driver.machine.check_offset_deletion(GROUP)
    assert driver.machine.topics_read(GROUP) == set()
    assert len(driver.machine.delete_offsets(GROUP, "read", [0])) == 1


def test_whose_offsets_cannot_be_deleted(driver: Driver) -> None:
    """Those of no name, of no group, and of members that are not consumers."""
    with pytest.raises(InvalidGroupId):
        driver.machine.check_offset_deletion("")
    with pytest.raises(GroupIdNotFound):
        driver.machine.check_offset_deletion(GROUP)
    driver.stable(protocol_type="connect")
    with pytest.raises(NonEmptyGroup):
        driver.machine.check_offset_deletion(GROUP)


class NotSearched(dict[str, TopicOffsets]):
    """Offsets that are looked up by group alone."""

    def items(self) -> NoReturn:
        raise AssertionError("all groups were looked at")

    __iter__ = keys = values = items  # type: ignore[assignment]


def test_a_deleted_topic_takes_its_offsets_along() -> None:
    """In every group, and nothing else; groups that have none of it are not looked at."""
    machine = GroupMachine(SETTINGS)
    value = CommittedOffset(offset=1)
    for group_id in ("g", "h"):
        for topic in ("gone", "kept"):
            machine.replay(OffsetRecord(group_id, topic, 0, value))
    everything, machine.image.offsets = machine.image.offsets, NotSearched(machine.image.offsets)
    tombstones = list(topic_tombstones(machine.image, "gone"))
    machine.image.offsets = everything
    for record in tombstones:
        machine.replay(record)
    assert list(topic_tombstones(machine.image, "gone")) == []
    assert list(machine.image.committed()) == [("g", "kept", 0, value), ("h", "kept", 0, value)]
    machine.replay(GroupRecord("g", None))
    assert "g" in machine.image
