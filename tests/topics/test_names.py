"""Topic names: Kafka's rules."""

import pytest

from minibroker.protocol.errors import InvalidTopicException
from minibroker.topics.names import MAX_NAME_LENGTH, check_collision, check_topic_name, collision_key


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * MAX_NAME_LENGTH, "...", "__consumer_offsets"])
def test_legal_names_pass(name: str) -> None:
    """Letters, digits, dots, underscores and dashes, up to 249 of them."""
    check_topic_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "x" * (MAX_NAME_LENGTH + 1), "a b", "ä", "a/b", "a\n", "a\0"])
def test_illegal_names_are_refused(name: str) -> None:
    """Everything else is INVALID_TOPIC_EXCEPTION, and the message says why."""
    with pytest.raises(InvalidTopicException) as caught:
        check_topic_name(name)
    assert "found" in str(caught.value)


def test_names_collide_in_dots_and_underscores() -> None:
    """`a.b` and `a_b` would share a metric; a name does not collide with itself."""
    with pytest.raises(InvalidTopicException, match="collides"):
        check_collision("a.b", by_key("x", "a_b"))
    check_collision("a.b", by_key("a.b", "a-b", "ab"))


def by_key(*names: str) -> dict[str, str]:
    """As the catalog keeps them."""
    return {collision_key(name): name for name in names}
