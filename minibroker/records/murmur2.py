"""Kafka's hash of record keys: the producers of all languages must place a key in the same partition.

MurmurHash2, 32 bits, seed 0x9747b28c, on little-endian words, as in `org.apache.kafka.common.utils.Utils.murmur2`.
"""

import struct

SEED = 0x9747B28C
MULTIPLIER = 0x5BD1E995
MASK = 0xFFFF_FFFF


def murmur2(key: bytes) -> int:
    """The hash of `key` as an unsigned 32-bit number."""
    length = len(key)
    words = length // 4
    state = SEED ^ length
    for word in struct.unpack_from(f"<{words}I", key):
        word = word * MULTIPLIER & MASK
        word = (word ^ (word >> 24)) * MULTIPLIER
        state = (state * MULTIPLIER ^ word) & MASK
    if tail := key[4 * words :]:
        state = (state ^ int.from_bytes(tail, "little")) * MULTIPLIER & MASK
    state = (state ^ (state >> 13)) * MULTIPLIER & MASK
    return state ^ (state >> 15)


def partition_for_key(key: bytes, partition_count: int) -> int:
    """The partition Kafka's default partitioner puts `key` in; the sign bit is dropped, not negated."""
    return (murmur2(key) & 0x7FFF_FFFF) % partition_count
