"""How rounds begin and end: with everybody, or when the time is up."""

import pytest

from minibroker.config.settings import BrokerSettings
from minibroker.groups.effects import Effects
from minibroker.protocol.errors import ErrorCode
from tests.groups.driver import GROUP, Driver


@pytest.fixture
def driver() -> Driver:
    return Driver()


def beat(driver: Driver, milliseconds: int, *members: tuple[str, int]) -> None:
    """Let time pass while some members send heartbeats."""
    while milliseconds > 0:
        step = min(milliseconds, 3_000)
        driver.advance(step)
        milliseconds -= step
        for member_id, generation in members:
            driver.heartbeat(member_id, generation)


def test_an_empty_group_waits_for_more_members() -> None:
    """One member alone waits the initial delay (Kafka's default is 3 s)."""
    driver = Driver(settings=BrokerSettings())
    waiter = driver.join(driver.new_id())
    driver.advance(2_999)
    assert waiter not in driver.answers
    driver.advance(1)
    assert driver.answers[waiter].generation_id == 1


def test_the_initial_delay_is_prolonged_while_members_come() -> None:
    """Each part of it in which somebody new joined is followed by another one (KIP-134)."""
    driver = Driver(settings=BrokerSettings())
    waiter = driver.join(driver.new_id())
    for _ in range(2):
        driver.advance(2_000)
        driver.join(driver.new_id())
    driver.advance(4_999)  # 8,999: the parts end at 3,000, 6,000 and 9,000
    assert waiter not in driver.answers
    driver.advance(1)
    assert driver.answers[waiter].generation_id == 1
    assert len(driver.group.members) == 3


def test_the_initial_delay_ends_with_the_rebalance_timeout() -> None:
    """However many members come, the first ones need not wait longer than they asked for."""
    driver = Driver(settings=BrokerSettings())
    first = driver.join(driver.new_id(rebalance_timeout_ms=7_000), rebalance_timeout_ms=7_000)
    for _ in range(7):
        driver.advance(999)
        assert first not in driver.answers
        driver.join(driver.new_id(rebalance_timeout_ms=7_000), rebalance_timeout_ms=7_000)
    driver.advance(7)
    assert first in driver.answers


def test_members_that_do_not_join_again_in_time_are_out(driver: Driver) -> None:
    """A round ends with the rebalance timeout, without those who only sent heartbeats."""
    leader, follower = driver.stable(2)
    waiter = driver.join(leader)
    beat(driver, 59_999, (follower, 1))
    assert waiter not in driver.answers
    driver.advance(1)
    assert driver.answers[waiter].generation_id == 2
    assert driver.heartbeat(follower, 2) == ErrorCode.UNKNOWN_MEMBER_ID


def test_the_lead_goes_to_a_member_that_joined(driver: Driver) -> None:
    """If the leader does not come to the round, one of those who came leads."""
    leader, follower = driver.stable(2)
    waiter = driver.join(follower, protocols=(("range", b"new"),))
    beat(driver, 60_000, (leader, 1))
    assert driver.answers[waiter].leader == follower
    assert [member.member_id for member in driver.answers[waiter].members] == [follower]


def test_a_round_without_anybody_but_absent_static_members_goes_on(driver: Driver) -> None:
    """Static members are not put out by a round; their sessions decide."""
    waiter = driver.join(instance_id="one", session_timeout_ms=100_000)
    driver.advance(0)
    member_id = driver.answers[waiter].member_id
    driver.sync(member_id, 1, {}, instance_id="one")
    driver.leave(driver.new_id())  # a round in which nobody joins again
    assert driver.state == "PreparingRebalance"
    driver.advance(60_000)
    assert driver.state == "PreparingRebalance"
    driver.advance(40_000)
    assert (driver.state, driver.machine.image.groups[GROUP].generation) == ("Empty", 2)


@pytest.mark.parametrize("rebalance_timeout_ms", [-1, 0, 1, 1_000, 60_000])
def test_a_round_that_waits_for_nobody_is_not_looked_at(driver: Driver, rebalance_timeout_ms: int) -> None:
    """Whatever rebalance timeout its static members ask for; who comes back waits so long for the others, no longer."""
    names = ("one", "two")
    waiters = [driver.join(instance_id=name) for name in names]
    driver.advance(0)
    for waiter, name in zip(waiters, names, strict=True):
        driver.sync(driver.answers[waiter].member_id, driver.group.generation, {}, instance_id=name)
    asked = {"session_timeout_ms": 1_800_000, "rebalance_timeout_ms": rebalance_timeout_ms}
    for name in names:
        driver.join(instance_id=name, **asked)
    assert driver.state == "Stable"
    driver.leave(driver.new_id())  # a round in which nobody joins again
    driver.advance(60_000)
    assert driver.state == "PreparingRebalance"
    looked = driver.looked
    driver.advance(1_000_000)
    assert driver.looked == looked
    waiter = driver.join(instance_id="one", **asked)
    driver.advance(max(rebalance_timeout_ms, 0))
    assert driver.answers[waiter].error_code == ErrorCode.NONE
    assert len(driver.answers[waiter].members) == 2


def test_a_static_member_that_is_away_keeps_its_place_in_a_round(driver: Driver) -> None:
    """The leader hears of it, and assigns to it."""
    dynamic = driver.new_id()
    waiters = [driver.join(dynamic), driver.join(instance_id="one", session_timeout_ms=100_000)]
    driver.advance(0)
    static = driver.answers[waiters[1]].member_id
    driver.sync(static, 1, instance_id="one")
    driver.sync(dynamic, 1, {})
    waiter = driver.join(dynamic)
    driver.advance(60_000)
    assert {member.member_id for member in driver.answers[waiter].members} == {dynamic, static}


def test_members_that_do_not_ask_for_their_assignment_are_out(driver: Driver) -> None:
    """Nobody would read what they were given: after the rebalance timeout the group goes on without them."""
    ids = [driver.new_id() for _ in range(2)]
    for member_id in ids:
        driver.join(member_id)
    driver.advance(0)
    driver.sync(ids[0], 1, {ids[0]: b"1", ids[1]: b"2"})
    assert driver.state == "Stable"
    beat(driver, 60_000, (ids[0], 1), (ids[1], 1))
    assert driver.state == "PreparingRebalance"
    assert driver.heartbeat(ids[0], 1) == ErrorCode.REBALANCE_IN_PROGRESS
    assert driver.heartbeat(ids[1], 1) == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_leader_that_never_assigns_is_out(driver: Driver) -> None:
    """The followers wait for it no longer than the rebalance timeout."""
    ids = [driver.new_id() for _ in range(2)]
    for member_id in ids:
        driver.join(member_id)
    driver.advance(0)
    waiter = driver.sync(ids[1], 1)
    beat(driver, 60_000, (ids[0], 1))
    assert driver.answers[waiter].error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert list(driver.group.members) == [ids[1]]


def test_a_silent_member_is_out_after_its_session(driver: Driver) -> None:
    """Its session timeout after it was last heard of, and not before, the others have to join again."""
    leader, silent = driver.stable(2)
    driver.advance(5_000)
    driver.heartbeat(leader, 1)
    driver.advance(4_999)
    assert driver.heartbeat(leader, 1) == ErrorCode.NONE
    driver.advance(1)
    assert driver.heartbeat(leader, 1) == ErrorCode.REBALANCE_IN_PROGRESS
    assert silent not in driver.group.members


def test_a_member_whose_request_is_held_needs_no_heartbeats(driver: Driver) -> None:
    """It could not send any behind it: it waits as long as the others take."""
    leader, follower = driver.stable(2)
    waiter = driver.join(leader)
    beat(driver, 30_000, (follower, 1))
    driver.join(follower)
    assert driver.answers[waiter].error_code == ErrorCode.NONE
    held = driver.sync(follower, 2)
    beat(driver, 30_000, (leader, 2))
    driver.sync(leader, 2, {follower: b"f"})
    assert driver.answers[held].assignment == b"f"


def test_a_member_that_waited_has_a_session_again(driver: Driver) -> None:
    """Once its request is answered it has to send heartbeats like everybody."""
    leader, follower = driver.stable(2)
    driver.join(leader)
    driver.join(follower)
    driver.sync(follower, 2)
    beat(driver, 30_000, (leader, 2))
    driver.sync(leader, 2, {})
    beat(driver, 9_999, (leader, 2))
    assert driver.state == "Stable"
    beat(driver, 1, (leader, 2))
    assert list(driver.group.members) == [leader]


def test_deadlines_that_come_together_count_one_after_the_other(driver: Driver) -> None:
    """Looked at late, the session of one member ends the round of another, whose session begins anew by that."""
    first, second = driver.stable(2)
    waiter = driver.join(second, protocols=(("range", b"new"),))
    driver.now_ms += 30_000
    driver.advance(0)
    assert driver.answers[waiter].generation_id == 2
    assert list(driver.group.members) == [second]
    assert first not in driver.group.members


def test_a_round_that_is_cut_short_begins_sessions_anew(driver: Driver) -> None:
    """Of those who waited for the leader's word; a silent one is out after its session, not with the round."""
    leader, follower = driver.stable(2)
    driver.join(leader)
    driver.join(follower)
    driver.sync(follower, 2)
    beat(driver, 30_000, (leader, 2))
    driver.join(leader, protocols=(("range", b"new"),))
    driver.advance(9_999)
    assert driver.state == "PreparingRebalance"
    driver.advance(1)
    assert list(driver.group.members) == [leader]
    assert driver.state == "CompletingRebalance"


def test_a_round_that_is_cut_short_leaves_no_assignment(driver: Driver) -> None:
    """What belonged to an earlier generation belongs to nobody."""
    leader, follower = driver.stable(2)
    driver.join(leader)
    driver.join(follower)
    driver.join(driver.new_id())
    assert driver.state == "PreparingRebalance"
    assert {member.assignment for member in driver.group.members.values()} == {b""}


def test_a_new_round_forgets_who_had_not_synced(driver: Driver) -> None:
    """The time for that was the old round's."""
    leader, follower = driver.stable(2)
    driver.join(leader)
    driver.join(follower)
    beat(driver, 30_000, (leader, 2), (follower, 2))
    driver.join(driver.new_id())
    driver.join(leader)
    beat(driver, 40_000, (follower, 2))
    assert {leader, follower} <= driver.group.members.keys()


def test_a_round_does_not_wait_for_an_id_that_has_run_out(driver: Driver) -> None:
    """It ends when the member id that was given out meanwhile is taken back."""
    (leader,) = driver.stable(session_timeout_ms=30_000)
    driver.new_id()
    waiter = driver.join(leader)
    driver.advance(9_999)
    assert waiter not in driver.answers
    driver.advance(1)
    assert driver.answers[waiter].generation_id == 2


def test_a_held_join_does_not_keep_a_new_member_for_ever(driver: Driver) -> None:
    """It cannot be told from one whose connection is gone, and is asked to come again after five minutes."""
    leader, *_ = driver.stable(1, rebalance_timeout_ms=1_000_000)
    waiter = driver.join(driver.new_id(), rebalance_timeout_ms=1_000_000)
    beat(driver, 299_999, (leader, 1))
    assert waiter not in driver.answers
    beat(driver, 1, (leader, 1))
    assert driver.answers[waiter].error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_the_group_of_the_last_member_is_empty(driver: Driver) -> None:
    """It keeps its type and a generation, one higher, and nothing of it stays live."""
    driver.stable()
    driver.advance(10_000)
    assert driver.state == "Empty"
    metadata = driver.machine.image.groups[GROUP]
    assert (metadata.generation, metadata.protocol_type, metadata.protocol, metadata.members) == (
        2,
        "consumer",
        None,
        (),
    )
    assert driver.machine.live == {}


def test_an_empty_group_can_take_another_kind_of_member(driver: Driver) -> None:
    """Only members hold a group to its protocol type; the generation goes on."""
    (member_id,) = driver.stable()
    driver.leave(member_id)
    driver.stable(protocol_type="connect")
    assert (driver.group.protocol_type, driver.group.generation) == ("connect", 3)


# Restarts -----------------------------------------------------------------------------------------------------------


def test_a_stable_group_lives_on_after_a_restart(driver: Driver) -> None:
    """Members go on as if nothing had happened; their sessions begin anew."""
    leader, follower = driver.stable(2)
    driver.advance(9_000)
    driver.restart()
    driver.advance(9_000)
    assert driver.heartbeat(leader, 1) == ErrorCode.NONE
    assert driver.commit(follower, 1) == ErrorCode.NONE
    assert driver.answers[driver.sync(follower, 1)].assignment == follower.encode()
    assert driver.group.leader_id == leader
    driver.advance(10_000)
    assert driver.state == "Empty"


def test_a_restart_before_the_leader_assigned_keeps_generation_and_members(driver: Driver) -> None:
    """Who was told of a generation never meets it again: the group joins anew, under the same member ids."""
    leader, follower = driver.stable(2)
    driver.join(follower, protocols=(("range", b"new"),))
    waiter = driver.join(leader)
    assert driver.answers[waiter].generation_id == 2
    driver.restart()
    assert driver.heartbeat(leader, 2) == ErrorCode.REBALANCE_IN_PROGRESS
    assert driver.answers[driver.sync(leader, 2, {})].error_code == ErrorCode.REBALANCE_IN_PROGRESS
    waiters = [driver.join(leader), driver.join(follower)]
    assert [driver.answers[waiter].generation_id for waiter in waiters] == [3, 3]


def test_a_round_after_a_restart_ends_in_time(driver: Driver) -> None:
    """Members that send heartbeats but do not join again are out after the rebalance timeout."""
    leader, follower = driver.stable(2)
    driver.join(leader)
    driver.join(follower)
    driver.restart()
    waiter = driver.join(follower)
    beat(driver, 60_000, (leader, 2))
    assert driver.answers[waiter].generation_id == 3
    assert list(driver.group.members) == [follower]


def test_a_restart_while_members_join_goes_back_to_the_last_generation(driver: Driver) -> None:
    """What was not answered was not promised: the members of the last generation are still in."""
    leader, _ = driver.stable(2)
    driver.join(leader)
    driver.restart()
    assert (driver.state, driver.group.generation) == ("Stable", 1)


def test_a_restart_does_not_know_ids_that_were_not_used(driver: Driver) -> None:
    """The client starts over."""
    member_id = driver.new_id()
    driver.restart()
    assert driver.answers[driver.join(member_id)].error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert driver.state == "Empty"


def test_whoever_waits_hears_that_the_group_is_let_go(driver: Driver) -> None:
    """At shutdown nobody is left waiting: held joins and syncs are answered alike."""
    ids = [driver.new_id() for _ in range(2)]
    for member_id in ids:
        driver.join(member_id)
    driver.advance(0)
    held_sync = driver.sync(ids[1], 1)
    effects = Effects()
    driver.machine.unload(GROUP, ErrorCode.NOT_COORDINATOR, effects)
    driver.apply(effects)
    assert driver.answers[held_sync].error_code == ErrorCode.NOT_COORDINATOR
    other = Driver()
    held_join = other.join(other.new_id())
    effects = Effects()
    other.machine.unload(GROUP, ErrorCode.NOT_COORDINATOR, effects)
    other.apply(effects)
    assert other.answers[held_join].error_code == ErrorCode.NOT_COORDINATOR
