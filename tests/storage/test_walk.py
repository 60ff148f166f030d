"""Going from batch to batch, over chunk borders and up to whatever breaks the chain."""

import random
import struct

import pytest

from minibroker.storage.walk import CHUNK_BYTES, BadBatch, walk_batches, walk_headers
from tests.simulation.disk import SimulatedDisk, SimulatedFile
from tests.storage.logs import make_batch

BatchList = list[tuple[int, bytes]]


def make_file(sizes: list[int]) -> tuple[SimulatedFile, BatchList]:
    """A file of batches with records of those sizes, and where they lie."""
    file = SimulatedDisk().open("/f", create=True)
    batches: BatchList = []
    position = 0
    for offset, size in enumerate(sizes):
        batch, _ = make_batch(offset, size=size)
        file.pwrite(batch, position)
        batches.append((position, bytes(batch)))
        position += len(batch)
    return file, batches


@pytest.mark.parametrize("seed", range(10))
def test_all_batches_are_found(seed: int) -> None:
    """Small and large ones, from any batch on, with and without their records."""
    rng = random.Random(seed)
    sizes = [rng.choice((0, 50, 4_000, 5_000, 60_000, CHUNK_BYTES + 10)) for _ in range(30)]
    file, batches = make_file(sizes)
    start = rng.randrange(len(batches))
    position, end = batches[start][0], file.size()
    assert [(at, bytes(batch)) for at, _, batch in walk_batches(file, position, end)] == batches[start:]
    assert [(at, header.base_offset) for at, header in walk_headers(file, position, end)] == [
        (at, offset) for offset, (at, _) in enumerate(batches)
    ][start:]


@pytest.mark.parametrize("size", [1, 60, 61, 62, 70])
def test_an_incomplete_last_batch(size: int) -> None:
    """Is bad at its own position, however little of it there is."""
    file, batches = make_file([10, 10, 10])
    last = batches[-1][0]
    for walk in (walk_batches, walk_headers):
        seen: list[int] = []
        with pytest.raises(BadBatch) as raised:
            seen.extend(at for at, *_ in walk(file, 0, last + size))
        assert raised.value.position == last
        assert seen == [at for at, _ in batches[:-1]]


def test_every_flipped_bit_under_the_crc() -> None:
    """Is found, and so is one in the CRC or the magic. Offset, length and epoch are for others to judge."""
    file, batches = make_file([3, 3])
    content, first = file.inode.content, len(batches[0][1])
    for bit in range(16 * 8, first * 8):
        content[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadBatch) as raised:
            list(walk_batches(file, 0, file.size()))
        assert raised.value.position == 0
        content[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("length", [-1, 0, 48, 2**31 - 1])
def test_a_wrong_length(length: int) -> None:
    """Is an end of the chain, not an allocation."""
    file, batches = make_file([3, 3])
    file.pwrite(struct.pack(">i", length), batches[1][0] + 8)
    for walk in (walk_batches, walk_headers):
        with pytest.raises(BadBatch) as raised:
            list(walk(file, 0, file.size()))
        assert raised.value.position == batches[1][0]
