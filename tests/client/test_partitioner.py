"""Where records go."""

from __future__ import annotations

import pytest

from minibroker.client.partitioner import StickyPartitioner, partition_of_key


@pytest.mark.parametrize(
    ("key", "java_hash"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-longer-string", -1486304829), (b"abc", 479470107)],
)
def test_keys_go_where_java_puts_them(key: bytes, java_hash: int) -> None:
    """The same key is in the same partition, whichever language wrote it (hashes of Kafka's own tests)."""
    assert partition_of_key(key, 1000) == (java_hash & 0x7FFFFFFF) % 1000


def test_long_keys_are_hashed_alike() -> None:
    """The cache makes no difference."""
    from minibroker.records.murmur2 import partition_for_key

    for key in (b"x" * 64, b"x" * 65):
        assert partition_of_key(key, 12) == partition_for_key(key, 12)


def test_sticky_leaves_the_partition_when_told() -> None:
    """It moves to another one if there is another."""
    sticky = StickyPartitioner()
    first = sticky.move_on([0, 1])
    assert sticky.move_on([0, 1]) == 1 - first
    assert sticky.move_on([7]) == 7
    assert sticky.move_on([7]) == 7
