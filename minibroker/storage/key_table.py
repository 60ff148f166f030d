"""Which record of a log is the last with its key: the memory of a compaction, in a fixed number of bytes.

Records are numbered in the order in which they are read. Few keys live in a dictionary, which is fast and exact. From
`SPILL_BYTES` on they move into a hash table of flat arrays, 16 bytes a slot: 96 bits of a salted BLAKE2 digest and the
record's number. Python objects would cost ten times that. Two of ten million keys share 96 bits with a probability of
10^-15; the salt keeps anyone from looking for such a pair.
"""

import os
import struct
from array import array
from hashlib import blake2b

SLOT_BYTES = 16
MAX_LOAD = 0.75  # beyond it linear probing takes many steps
SPILL_BYTES = 16 * 1024 * 1024
ENTRY_BYTES = 200  # of a dictionary entry besides its key: the bytes object, a number, its share of the hash table

_DIGEST = struct.Struct("<QI")


class KeyTable:
    """Keys and the numbers of their last records.

    Not thread-safe. `max_bytes` bounds the memory; `room` says how many more keys certainly fit.
    """

    def __init__(self, max_bytes: int, max_keys: int, *, spill_bytes: int = SPILL_BYTES) -> None:
        """For at most `max_keys` keys, less where `max_bytes` do not hold them."""
        self._slots = max(min(int(max_keys / MAX_LOAD) + 1, max_bytes // SLOT_BYTES), 8)
        self._capacity = int(self._slots * MAX_LOAD)
        self._spill_bytes = min(spill_bytes, max_bytes)
        self._small: dict[bytes, int] | None = {}
        self._small_bytes = 0
        self._salt = os.urandom(blake2b.SALT_SIZE)
        self._count = 0
        self._high = array("Q")
        self._low = array("I")
        self._numbers = array("I")

    def __len__(self) -> int:
        return len(self._small) if self._small is not None else self._count

    @property
    def room(self) -> int:
        """How many more keys fit."""
        return self._capacity - len(self)

    def put(self, key: bytes, number: int) -> int:
        """Make `number` the last record with `key`; returns the one before it, or -1."""
        small = self._small
        if small is not None:
            previous = small.get(key, -1)
            small[key] = number
            if previous < 0:
                self._small_bytes += len(key) + ENTRY_BYTES
                if self._small_bytes > self._spill_bytes:
                    self._spill(small)
            return previous
        high, low, slot = self._find(key)
        if self._high[slot]:
            previous = self._numbers[slot]
            self._numbers[slot] = number
            return previous
        assert self._count < self._capacity, "ask for room before a put"
        self._high[slot], self._low[slot], self._numbers[slot] = high, low, number
        self._count += 1
        return -1

    def __contains__(self, key: bytes) -> bool:
        if self._small is not None:
            return key in self._small
        _, _, slot = self._find(key)
        return bool(self._high[slot])

    def _find(self, key: bytes) -> tuple[int, int, int]:
        """The digest of a key in two parts, and its slot, or the free one where it belongs."""
        high, low = _DIGEST.unpack(blake2b(key, digest_size=_DIGEST.size, salt=self._salt).digest())
        if not high:
            high = 1  # 0 marks a free slot
        highs, lows, slots = self._high, self._low, self._slots
        slot = high % slots
        while found := highs[slot]:
            if found == high and lows[slot] == low:
                break
            slot += 1
            if slot == slots:
                slot = 0
        return high, low, slot

    def _spill(self, small: dict[bytes, int]) -> None:
        self._small = None
        self._high = array("Q", [0]) * self._slots
        self._low = array("I", [0]) * self._slots
        self._numbers = array("I", [0]) * self._slots
        for key, number in small.items():
            self.put(key, number)
