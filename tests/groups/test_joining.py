"""Who may join a group, and what it hears."""

import attrs
import pytest

from minibroker.config.settings import BrokerSettings
from minibroker.protocol.errors import ErrorCode
from tests.groups.driver import GROUP, Driver

TWO = (("range", b"r"), ("sticky", b"s"))


@pytest.fixture
def driver() -> Driver:
    return Driver()


def test_a_new_member_is_asked_to_come_again_with_an_id(driver: Driver) -> None:
    """From version 4 on the first JoinGroup only yields a member id, made of the client id."""
    answer = driver.answers[driver.join(client_id="reader")]
    assert answer.error_code == ErrorCode.MEMBER_ID_REQUIRED
    assert answer.member_id.startswith("reader-")
    assert driver.state == "Empty"


def test_old_clients_join_in_one_step(driver: Driver) -> None:
    """Before version 4 nobody is asked to come again."""
    waiter = driver.join(version=3)
    driver.advance(0)
    answer = driver.answers[waiter]
    assert (answer.error_code, answer.generation_id, answer.leader) == (0, 1, answer.member_id)


def test_an_id_that_is_not_used_is_taken_back(driver: Driver) -> None:
    """A member id that nobody joins with within the session timeout is unknown afterwards."""
    member_id = driver.new_id()
    driver.advance(10_000)
    assert driver.machine.live == {}
    assert driver.answers[driver.join(member_id)].error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_only_the_leader_hears_of_the_members(driver: Driver) -> None:
    """The leader gets everybody's metadata for the chosen protocol, the others an empty list."""
    ids = [driver.new_id() for _ in range(2)]
    answers = [driver.join(ids[0], protocols=(("range", b"a"),)), driver.join(ids[1], protocols=(("range", b"b"),))]
    driver.advance(0)
    first, second = (driver.answers[waiter] for waiter in answers)
    assert first.leader == second.leader == ids[0]
    assert [(member.member_id, member.metadata) for member in first.members] == [(ids[0], b"a"), (ids[1], b"b")]
    assert second.members == []
    assert first.protocol_name == second.protocol_name == "range"


@pytest.mark.parametrize(
    ("group_id", "changes", "error"),
    [
        ("", {}, ErrorCode.INVALID_GROUP_ID),
        (GROUP, {"session_timeout_ms": 5_999}, ErrorCode.INVALID_SESSION_TIMEOUT),
        (GROUP, {"session_timeout_ms": 1_800_001}, ErrorCode.INVALID_SESSION_TIMEOUT),
        (GROUP, {"member_id": "stranger"}, ErrorCode.UNKNOWN_MEMBER_ID),
        (GROUP, {"protocol_type": ""}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        (GROUP, {"protocols": ()}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        (GROUP, {"instance_id": "x" * 8_001}, ErrorCode.INVALID_REQUEST),
    ],
)
def test_refusals_before_there_is_a_group(
    driver: Driver, group_id: str, changes: dict[str, object], error: ErrorCode
) -> None:
    """A JoinGroup that cannot be right is refused, and leaves no group behind."""
    assert driver.answers[driver.join(group_id=group_id, **changes)].error_code == error  # type: ignore[arg-type]
    assert driver.log == []
    assert driver.machine.live == {}


@pytest.mark.parametrize("changes", [{"protocol_type": "connect"}, {"protocols": (("other", b""),)}])
def test_members_must_agree_on_a_protocol(driver: Driver, changes: dict[str, object]) -> None:
    """Another protocol type, or no protocol that all support, is refused; the group goes on."""
    driver.stable()
    assert driver.answers[driver.join(**changes)].error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL  # type: ignore[arg-type]
    assert driver.state == "Stable"


def test_any_protocol_type_will_do(driver: Driver) -> None:
    """Connect workers and schema registries form groups as consumers do."""
    driver.stable(2, protocol_type="connect", protocols=(("default", b"\xff"),))
    assert driver.group.protocol_type == "connect"


def test_the_protocol_is_voted_for(driver: Driver) -> None:
    """Of the protocols that all support, the one that most members put first is chosen."""
    ids = [driver.new_id() for _ in range(3)]
    driver.join(ids[0], protocols=(("a", b""), ("b", b""), ("c", b"")))
    driver.join(ids[1], protocols=(("c", b""), ("b", b""), ("a", b"")))
    waiter = driver.join(ids[2], protocols=(("c", b""), ("b", b"")))
    driver.advance(0)
    assert driver.answers[waiter].protocol_name == "c"


def test_the_group_size_is_limited() -> None:
    """group.max.size members are in; one more is refused, and those who are in need not wait for it."""
    driver = Driver(settings=BrokerSettings(group_initial_rebalance_delay_ms=0, group_max_size=2))
    ids = driver.stable(2)
    late = driver.join()
    assert driver.answers[late].error_code == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert driver.heartbeat(ids[0], 1) == ErrorCode.NONE


def test_a_group_that_has_outgrown_its_limit_shrinks() -> None:
    """After a restart with a smaller limit, the members that join again last are turned away."""
    driver = Driver()
    ids = driver.stable(3)
    driver.settings = driver.machine.settings = BrokerSettings(group_initial_rebalance_delay_ms=0, group_max_size=2)
    driver.restart()
    assert driver.state == "PreparingRebalance"
    waiters = [driver.join(member_id) for member_id in ids]
    assert [driver.answers[waiter].error_code for waiter in waiters] == [0, 0, ErrorCode.GROUP_MAX_SIZE_REACHED]
    assert driver.state == "CompletingRebalance"


# Joining again ------------------------------------------------------------------------------------------------------


def test_a_follower_that_joins_again_unchanged_starts_nothing(driver: Driver) -> None:
    """It hears of the present generation."""
    _, follower = driver.stable(2)
    answer = driver.answers[driver.join(follower)]
    assert (answer.error_code, answer.generation_id, driver.state) == (0, 1, "Stable")


def test_a_leader_that_joins_again_starts_a_new_generation(driver: Driver) -> None:
    """It may have seen something that the broker does not know of, such as new partitions."""
    leader, follower = driver.stable(2)
    waiter = driver.join(leader)
    assert driver.state == "PreparingRebalance"
    assert driver.heartbeat(follower, 1) == ErrorCode.REBALANCE_IN_PROGRESS
    driver.join(follower)
    assert driver.answers[waiter].generation_id == 2


def test_a_member_that_changes_starts_a_new_generation(driver: Driver) -> None:
    """Another subscription is a reason to assign anew, in a stable group and while the leader assigns."""
    leader, follower = driver.stable(2)
    driver.join(follower, protocols=(("range", b"other"),))
    assert driver.state == "PreparingRebalance"
    driver.join(leader)
    assert driver.state == "CompletingRebalance"
    driver.join(leader, protocols=(("range", b"another"),))
    assert driver.state == "PreparingRebalance"


@pytest.mark.parametrize("leads", [True, False])
def test_an_answer_that_was_missed_is_given_again(driver: Driver, leads: bool) -> None:
    """While the leader assigns, an unchanged member that joins again hears the same as before."""
    ids = [driver.new_id() for _ in range(2)]
    waiters = [driver.join(member_id) for member_id in ids]
    driver.advance(0)
    which = 0 if leads else 1
    assert driver.answers[driver.join(ids[which])] == driver.answers[waiters[which]]
    assert driver.state == "CompletingRebalance"


def test_a_second_join_of_a_member_releases_the_first(driver: Driver) -> None:
    """A client that timed out and joined again on a new connection leaves no request hanging."""
    member_id = driver.new_id()
    first, second = driver.join(member_id), driver.join(member_id)
    assert driver.answers[first].error_code == ErrorCode.REBALANCE_IN_PROGRESS
    driver.advance(0)
    assert driver.answers[second].error_code == ErrorCode.NONE


# Static members -----------------------------------------------------------------------------------------------------


def static_pair(driver: Driver) -> tuple[str, str]:
    """A stable group of two static members, leader first."""
    waiters = [driver.join(instance_id=name, protocols=TWO) for name in ("one", "two")]
    driver.advance(0)
    first, second = (driver.answers[waiter].member_id for waiter in waiters)
    driver.sync(first, 1, {first: b"1", second: b"2"}, instance_id="one")
    driver.sync(second, 1, instance_id="two")
    return first, second


def test_a_static_member_joins_in_one_step(driver: Driver) -> None:
    """Its instance id names it already; its member id begins with it."""
    first, second = static_pair(driver)
    assert first.startswith("one-")
    assert second.startswith("two-")
    assert driver.state == "Stable"


def test_a_static_member_comes_back_without_a_rebalance(driver: Driver) -> None:
    """It gets a new member id in the same generation, and the assignment it had."""
    _, second = static_pair(driver)
    answer = driver.answers[driver.join(instance_id="two", protocols=TWO)]
    assert (answer.error_code, answer.generation_id, driver.state) == (0, 1, "Stable")
    assert answer.member_id != second
    assert driver.answers[driver.sync(answer.member_id, 1, instance_id="two")].assignment == b"2"
    driver.restart()
    assert driver.heartbeat(answer.member_id, 1, "two") == ErrorCode.NONE


def test_a_static_member_that_comes_back_begins_its_session_anew(driver: Driver) -> None:
    """And has to ask for its assignment in time."""
    first, _ = static_pair(driver)
    driver.advance(9_000)
    driver.heartbeat(first, 1, "one")
    answer = driver.answers[driver.join(instance_id="two", protocols=TWO)]
    driver.advance(9_000)
    assert driver.heartbeat(answer.member_id, 1, "two") == ErrorCode.NONE
    assert driver.state == "Stable"


def test_a_static_member_that_comes_back_before_it_synced_has_to_sync(driver: Driver) -> None:
    """Its new member id takes over the deadline of the old one."""
    waiters = [driver.join(instance_id=name, protocols=TWO) for name in ("one", "two")]
    driver.advance(0)
    first, second = (driver.answers[waiter].member_id for waiter in waiters)
    driver.sync(first, 1, {first: b"1", second: b"2"}, instance_id="one")
    new_id = driver.answers[driver.join(instance_id="two", protocols=TWO)].member_id
    for _ in range(7):
        driver.heartbeat(first, 1, "one")
        driver.heartbeat(new_id, 1, "two")
        driver.advance(9_000)
    assert new_id not in driver.group.members


def test_the_old_member_id_of_a_static_member_is_fenced(driver: Driver) -> None:
    """Whoever still uses it hears so, in every request."""
    _, second = static_pair(driver)
    driver.join(instance_id="two", protocols=TWO)
    fenced = ErrorCode.FENCED_INSTANCE_ID
    assert driver.heartbeat(second, 1, "two") == fenced
    assert driver.commit(second, 1, instance_id="two") == fenced
    assert driver.answers[driver.sync(second, 1, instance_id="two")].error_code == fenced
    assert driver.answers[driver.join(second, instance_id="two")].error_code == fenced
    assert driver.leave((second, "two")) == [fenced]


@pytest.mark.parametrize(("version", "leads"), [(9, True), (8, False)])
def test_a_static_leader_that_comes_back_need_not_assign(driver: Driver, version: int, leads: bool) -> None:
    """From version 9 on it leads and skips the assignment (KIP-814); before, it believes that another leads."""
    first, _ = static_pair(driver)
    answer = driver.answers[driver.join(instance_id="one", protocols=TWO, version=version)]
    assert answer.skip_assignment == leads
    assert (answer.leader == answer.member_id) == leads
    assert bool(answer.members) == leads
    if not leads:
        assert answer.leader == first


def test_a_static_member_that_tips_the_vote_starts_a_round(driver: Driver) -> None:
    """If the group's protocol would change, everybody has to join again."""
    static_pair(driver)
    waiter = driver.join(instance_id="two", protocols=TWO[1:])
    assert waiter not in driver.answers
    assert driver.state == "PreparingRebalance"


def test_a_held_request_of_a_replaced_static_member_is_fenced(driver: Driver) -> None:
    """Two processes with one instance id: the later one wins, and the earlier one hears of it."""
    waiter = driver.join(instance_id="one")
    other = driver.join(instance_id="one")
    assert driver.answers[waiter].error_code == ErrorCode.FENCED_INSTANCE_ID
    driver.advance(0)
    assert driver.answers[other].error_code == ErrorCode.NONE


def test_a_static_member_replaced_while_the_leader_assigns_starts_a_round(driver: Driver) -> None:
    """The leader would assign to a member id that is no more."""
    waiters = [driver.join(instance_id=name) for name in ("one", "two")]
    driver.advance(0)
    assert driver.state == "CompletingRebalance"
    held = driver.sync(driver.answers[waiters[1]].member_id, 1, instance_id="two")
    driver.join(instance_id="two")
    assert driver.answers[held].error_code == ErrorCode.FENCED_INSTANCE_ID
    assert driver.state == "PreparingRebalance"


def test_an_unknown_instance_id_with_a_member_id_is_unknown(driver: Driver) -> None:
    """A member id that goes with no instance id of the group is nobody's."""
    static_pair(driver)
    waiter = driver.join("some-id", instance_id="three")
    assert driver.answers[waiter].error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_members_are_remembered_as_they_joined(driver: Driver) -> None:
    """The log keeps what a restart and a description of the group need."""
    (member_id,) = driver.stable(client_id="c1", client_host="/10.0.0.1")
    (member,) = driver.replayed().groups[GROUP].members
    assert attrs.asdict(member) == {
        "member_id": member_id,
        "group_instance_id": None,
        "client_id": "c1",
        "client_host": "/10.0.0.1",
        "rebalance_timeout_ms": 60_000,
        "session_timeout_ms": 10_000,
        "subscription": b"r",
        "assignment": member_id.encode(),
    }


def test_protocols_that_nobody_supports_any_more_are_forgotten() -> None:
    """A member that comes with other names each time does not leave them behind."""
    driver = Driver()
    (member_id,) = driver.stable()
    for number in range(20):
        driver.join(member_id, protocols=(("range", b""), (f"p{number}", b"")))
    assert list(driver.group._supporters) == ["range", "p19"]
