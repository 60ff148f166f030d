"""Subscriptions and assignments, against kio."""

from __future__ import annotations

import struct
from contextlib import suppress
from importlib import import_module
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.protocol.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    TopicPartition,
    decode_versioned,
    encode_versioned,
)
from minibroker.protocol.errors import ProtocolError
from tests.protocol.instances import make
from tests.protocol.oracle import decode_with_kio, encode_with_kio, to_kio

CASES = [
    (cls, name, version)
    for cls, name in (
        (ConsumerProtocolSubscription, "consumer_protocol_subscription"),
        (ConsumerProtocolAssignment, "consumer_protocol_assignment"),
    )
    for version in range(4)
]


@pytest.mark.parametrize(("cls", "name", "version"), CASES)
def test_payload_equals_that_of_kio(cls: Any, name: str, version: int) -> None:
    """Version and bytes are those of Kafka's schemas, and come back."""
    target = getattr(import_module(f"kio.schema.{name}.v{version}.data"), cls.__name__)
    for seed in range(10):
        message = make(cls, version, Random(seed))
        payload = encode_versioned(message, version)
        assert payload == struct.pack(">h", version) + encode_with_kio(to_kio(message, version, target))
        assert decode_with_kio(target, payload[2:]) == to_kio(message, version, target)
        assert decode_versioned(cls, payload) == message


@pytest.mark.parametrize(("cls", "name", "version"), CASES)
def test_every_truncation_is_a_protocol_error(cls: Any, name: str, version: int) -> None:
    """A payload cut at any byte is refused."""
    payload = encode_versioned(make(cls, version, Random(3)), version)
    for end in range(len(payload)):
        with pytest.raises(ProtocolError):
            decode_versioned(cls, payload[:end])


def test_later_version_is_read_as_the_last_known() -> None:
    """A later version may append fields; they are ignored."""
    subscription = ConsumerProtocolSubscription(
        topics=["a"], owned_partitions=[TopicPartition(topic="a", partitions=[1])], generation_id=3, rack_id="r"
    )
    payload = struct.pack(">h", 9) + encode_versioned(subscription)[2:] + b"what is to come"
    assert decode_versioned(ConsumerProtocolSubscription, payload) == subscription


def test_old_versions_drop_what_they_lack() -> None:
    """A member of an old group loses only what the old format cannot say."""
    subscription = ConsumerProtocolSubscription(topics=["a"], generation_id=3, rack_id="r", user_data=b"u")
    payload = encode_versioned(subscription, 0)
    assert decode_versioned(ConsumerProtocolSubscription, payload) == ConsumerProtocolSubscription(
        topics=["a"], user_data=b"u"
    )


@given(st.binary(max_size=60), st.integers(-1, 4))
def test_any_payload_is_read_or_refused(data: bytes, version: int) -> None:
    """Members may send anything; reading it ends with a message or with ProtocolError."""
    for cls in (ConsumerProtocolSubscription, ConsumerProtocolAssignment):
        with suppress(ProtocolError):
            decode_versioned(cls, struct.pack(">h", version) + data)
