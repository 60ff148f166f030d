"""Where a group's records are."""

import pytest

from minibroker.coordinator.offsets_topic import java_hash


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0),
        ("a", 97),
        ("hello", 99162322),
        ("billing", 109829509),  # the hash is negative: Kafka takes its absolute value
        ("polygenelubricants", 0),  # the smallest int32, which has none
        ("\U0001f600", 1772899),
    ],
)
def test_strings_hash_as_in_java(text: str, value: int) -> None:
    """String.hashCode over UTF-16 units, then Kafka's abs."""
    assert java_hash(text) == value
