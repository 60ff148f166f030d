"""Which partition a record goes to: by its key as the Java client does, or sticky for records without one (KIP-480)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache

import attrs

from minibroker.records.murmur2 import partition_for_key

CACHED_KEYS = 16384
MAX_CACHED_KEY_BYTES = 64
"""Keys repeat, and the hash costs a microsecond and a half in Python; longer keys would make the cache too large."""

_cached_partition = lru_cache(CACHED_KEYS)(partition_for_key)


def partition_of_key(key: bytes, partition_count: int) -> int:
    """Kafka's default: `murmur2(key) mod partition_count`, the same in the clients of all languages."""
    if len(key) <= MAX_CACHED_KEY_BYTES:
        return _cached_partition(key, partition_count)
    return partition_for_key(key, partition_count)


@attrs.define(eq=False)
class StickyPartitioner:
    """Keyless records stay in one partition until its batch is closed: fewer, larger batches than round robin."""

    choose: Callable[[Sequence[int]], int] = random.choice
    current: int = -1
    """The partition of the moment; -1 before the first."""

    def move_on(self, available: Sequence[int]) -> int:
        """Choose another partition than the current one, if there is another. `available` must not be empty."""
        others = [index for index in available if index != self.current]
        self.current = self.choose(others or available)
        return self.current
