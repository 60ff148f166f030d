"""The binary formats of the group protocol, compared with what other clients write and read."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from minibroker.client.metadata import TopicPartition
from minibroker.client.subscription import (
    Subscription,
    decode_assignment,
    decode_sticky_user_data,
    decode_subscription,
    encode_assignment,
    encode_sticky_user_data,
    encode_subscription,
)
from minibroker.protocol.errors import ProtocolError

partitions = st.frozensets(st.builds(TopicPartition, st.text(max_size=5), st.integers(0, 2**31 - 1)), max_size=8)


@given(
    st.lists(st.text(max_size=5), max_size=4),
    partitions,
    st.integers(-1, 2**31 - 1),
    st.none() | st.binary(max_size=9),
)
def test_subscriptions_round_trip(
    topics: list[str], owned: frozenset[TopicPartition], generation: int, user_data: bytes | None
) -> None:
    """What is written is read."""
    subscription = Subscription(topics=tuple(sorted(topics)), owned=owned, generation=generation, user_data=user_data)
    assert decode_subscription(encode_subscription(subscription)) == subscription


@given(partitions, st.integers(-1, 2**31 - 1))
def test_assignments_round_trip(owned: frozenset[TopicPartition], generation: int) -> None:
    """Assignments, and the sticky assignor's user data with its generation."""
    assert decode_assignment(encode_assignment(owned)) == owned
    assert decode_sticky_user_data(encode_sticky_user_data(owned, generation)) == (owned, generation)


def test_a_sticky_members_user_data_is_javas() -> None:
    """StickyAssignorUserData v1: previous assignment, generation; v0 ends before the generation."""
    data = encode_sticky_user_data([TopicPartition("t", 1)], 5)
    assert data == b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x01" + b"\0\0\0\x05"
    assert decode_sticky_user_data(data[:-4]) == (frozenset({TopicPartition("t", 1)}), -1)


def test_old_subscriptions_own_nothing() -> None:
    """v0 ends behind the user data; some clients say v1 and end there all the same."""
    plain = b"\0\0\0\x01\0\x01t" + struct.pack(">i", -1)
    assert decode_subscription(b"\0\0" + plain) == Subscription(topics=("t",))
    assert decode_subscription(b"\0\x01" + plain) == Subscription(topics=("t",))


def test_an_empty_assignment_has_no_bytes() -> None:
    """A leader may leave a member out, and the broker then sends nothing."""
    assert decode_assignment(b"") == frozenset()


@given(st.binary(max_size=40))
def test_garbage_is_a_protocol_error(data: bytes) -> None:
    """Whatever another member sends, nothing else is raised."""
    for decode in (decode_subscription, decode_assignment, decode_sticky_user_data):
        with contextlib.suppress(ProtocolError):
            decode(data)
