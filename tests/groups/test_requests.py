"""SyncGroup, Heartbeat, LeaveGroup and the right to commit, state by state."""

import pytest

from minibroker.protocol.errors import ErrorCode
from tests.groups.driver import GROUP, Driver

NONE, UNKNOWN = ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID


@pytest.fixture
def driver() -> Driver:
    return Driver()


def completing(driver: Driver, members: int = 2) -> list[str]:
    """A group whose leader has not yet assigned, leader first."""
    ids = [driver.new_id() for _ in range(members)]
    for member_id in ids:
        driver.join(member_id)
    driver.advance(0)
    assert driver.state == "CompletingRebalance"
    return ids


# SyncGroup ----------------------------------------------------------------------------------------------------------


def test_followers_wait_for_the_leader(driver: Driver) -> None:
    """Everybody hears its own part, one that the leader left out an empty one."""
    ids = completing(driver, 3)
    held = [driver.sync(member_id, 1) for member_id in ids[1:]]
    assert not set(held) & set(driver.answers)
    leads = driver.sync(ids[0], 1, {ids[0]: b"0", ids[1]: b"1", "stranger": b"x"})
    assert [driver.answers[waiter].assignment for waiter in (leads, *held)] == [b"0", b"1", b""]
    assert driver.answers[leads].protocol_name == "range"
    assert driver.state == "Stable"


def test_a_late_follower_hears_its_assignment_at_once(driver: Driver) -> None:
    """A stable group has it ready, and the leader's word is not asked for again."""
    ids = completing(driver)
    driver.sync(ids[0], 1, {ids[1]: b"1"})
    assert driver.answers[driver.sync(ids[1], 1, {ids[1]: b"changed"})].assignment == b"1"


@pytest.mark.parametrize(
    ("member_id", "generation", "changes", "error"),
    [
        ("stranger", 1, {}, UNKNOWN),
        (None, 0, {}, ErrorCode.ILLEGAL_GENERATION),
        (None, 2, {}, ErrorCode.ILLEGAL_GENERATION),
        (None, 1, {"protocol": "other"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        (None, 1, {"protocol_type": "connect"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        (None, 1, {"protocol_type": "consumer", "protocol": "range"}, NONE),
    ],
)
def test_sync_of_a_stable_group(
    driver: Driver, member_id: str | None, generation: int, changes: dict[str, str], error: ErrorCode
) -> None:
    """Strangers, other generations and other protocols are refused (KIP-559)."""
    (leader,) = driver.stable()
    waiter = driver.sync(member_id or leader, generation, **changes)
    assert driver.answers[waiter].error_code == error


def test_sync_while_members_join_is_refused(driver: Driver) -> None:
    """The member has to join again first."""
    leader, follower = driver.stable(2)
    driver.join(leader)
    assert driver.answers[driver.sync(follower, 1)].error_code == ErrorCode.REBALANCE_IN_PROGRESS


def test_sync_of_no_group_or_an_empty_one_is_refused(driver: Driver) -> None:
    """There are no members to be one of."""
    assert driver.answers[driver.sync("m", 0)].error_code == UNKNOWN
    driver.leave(*driver.stable())
    assert driver.answers[driver.sync("m", 2)].error_code == UNKNOWN


def test_a_new_round_releases_those_who_wait_for_the_leader(driver: Driver) -> None:
    """They hear that they have to join again."""
    ids = completing(driver)
    held = driver.sync(ids[1], 1)
    driver.join(driver.new_id())
    assert driver.answers[held].error_code == ErrorCode.REBALANCE_IN_PROGRESS


def test_a_second_sync_of_a_member_releases_the_first(driver: Driver) -> None:
    """No request is left hanging."""
    ids = completing(driver)
    first, second = driver.sync(ids[1], 1), driver.sync(ids[1], 1)
    assert driver.answers[first].error_code == ErrorCode.REBALANCE_IN_PROGRESS
    driver.sync(ids[0], 1, {ids[1]: b"1"})
    assert driver.answers[second].assignment == b"1"


# Heartbeat ----------------------------------------------------------------------------------------------------------


def test_heartbeats_state_by_state(driver: Driver) -> None:
    """Taken while the leader assigns and when stable; while others join they call to the round."""
    assert driver.heartbeat("m", 1) == UNKNOWN
    leader, follower = completing(driver)
    assert driver.heartbeat(follower, 1) == NONE
    driver.sync(leader, 1)
    driver.sync(follower, 1)
    assert driver.heartbeat(follower, 1) == NONE
    assert driver.heartbeat(follower, 0) == ErrorCode.ILLEGAL_GENERATION
    assert driver.heartbeat("stranger", 1) == UNKNOWN
    driver.join(leader)
    assert driver.heartbeat(follower, 1) == ErrorCode.REBALANCE_IN_PROGRESS
    driver.leave(leader, follower)
    assert driver.heartbeat(follower, 2) == UNKNOWN


# LeaveGroup ---------------------------------------------------------------------------------------------------------


def test_who_leaves_is_out_at_once(driver: Driver) -> None:
    """The others need not wait for its session to end."""
    leader, follower = driver.stable(2)
    assert driver.leave(follower) == [NONE]
    assert driver.heartbeat(leader, 1) == ErrorCode.REBALANCE_IN_PROGRESS
    assert driver.heartbeat(follower, 1) == UNKNOWN


def test_several_members_leave_in_one_request(driver: Driver) -> None:
    """Each has its own answer, and the group has one round of it."""
    ids = driver.stable(3)
    assert driver.leave(ids[0], "stranger", ids[1], ids[0]) == [NONE, UNKNOWN, NONE, UNKNOWN]
    assert driver.answers[driver.join(ids[2])].generation_id == 2


def test_an_administrator_removes_static_members_by_name(driver: Driver) -> None:
    """Without a member id, the instance id names the member (KIP-345); an unknown one is said to be."""
    waiter = driver.join(instance_id="one")
    driver.advance(0)
    driver.sync(driver.answers[waiter].member_id, 1, {}, instance_id="one")
    assert driver.leave(("", "one"), ("", "two"), ("", None)) == [NONE, UNKNOWN, UNKNOWN]
    assert driver.state == "Empty"


def test_who_leaves_with_a_held_join_is_answered(driver: Driver) -> None:
    """It is unknown from now on."""
    leader, follower = driver.stable(2)
    held = driver.join(leader)
    driver.leave(leader)
    assert driver.answers[held].error_code == UNKNOWN
    assert driver.group.members.keys() == {follower}


def test_who_leaves_with_a_held_sync_is_answered(driver: Driver) -> None:
    """It is unknown from now on."""
    _, follower = completing(driver)
    held = driver.sync(follower, 1)
    driver.leave(follower)
    assert driver.answers[held].error_code == UNKNOWN


def test_the_last_one_that_a_round_waits_for_leaves(driver: Driver) -> None:
    """The round ends with those who have joined."""
    leader, follower = driver.stable(2)
    held = driver.join(leader)
    driver.leave(follower)
    assert driver.answers[held].generation_id == 2


def test_a_member_id_that_was_only_given_out_can_leave(driver: Driver) -> None:
    """It counts as having left, and is unknown afterwards."""
    member_id = driver.new_id()
    assert driver.leave(member_id, member_id) == [NONE, UNKNOWN]
    assert driver.machine.live == {}


def test_nobody_can_leave_a_group_that_is_not_there(driver: Driver) -> None:
    """Every member of the request hears so."""
    assert driver.leave("a", "b") == [UNKNOWN, UNKNOWN]


# OffsetCommit -------------------------------------------------------------------------------------------------------


def test_anybody_may_commit_for_a_group_without_members(driver: Driver) -> None:
    """Without a generation: tools, and consumers that assign partitions to themselves; also the empty group id."""
    assert driver.commit("", -1) == NONE
    driver.leave(*driver.stable())
    assert driver.commit("", -1) == NONE
    assert driver.commit("whoever", -1) == NONE


def test_only_members_may_commit_for_a_group_with_members(driver: Driver) -> None:
    """Strangers, other generations and those without any are refused; members may until their next assignment."""
    leader, follower = driver.stable(2)
    assert driver.commit("", -1) == UNKNOWN
    assert driver.commit("stranger", 1) == UNKNOWN
    assert driver.commit(leader, 0) == ErrorCode.ILLEGAL_GENERATION
    assert driver.commit(leader, -1) == ErrorCode.ILLEGAL_GENERATION
    assert driver.commit(leader, 1) == NONE
    driver.join(leader)
    assert driver.commit(follower, 1) == NONE  # what it did in the generation that ends
    driver.join(follower)
    assert driver.commit(follower, 2) == ErrorCode.REBALANCE_IN_PROGRESS


@pytest.mark.parametrize(("version", "error"), [(8, ErrorCode.ILLEGAL_GENERATION), (9, ErrorCode.GROUP_ID_NOT_FOUND)])
def test_a_member_of_no_group_may_not_commit(driver: Driver, version: int, error: ErrorCode) -> None:
    """What it hears depends on whether its client knows the error."""
    assert driver.commit("m", 1, version=version) == error


def test_a_member_of_an_empty_group_is_unknown(driver: Driver) -> None:
    """The group is there, but it has lost the member."""
    (member_id,) = driver.stable()
    driver.leave(member_id)
    assert driver.commit(member_id, 1) == UNKNOWN


def test_a_commit_keeps_a_member_alive(driver: Driver) -> None:
    """It counts as a heartbeat."""
    (member_id,) = driver.stable()
    for _ in range(4):
        driver.advance(9_000)
        assert driver.commit(member_id, 1) == NONE
    driver.advance(10_000)
    assert driver.state == "Empty"
    assert GROUP in driver.machine.image
