"""From batch to batch through a segment's file.

`walk_batches` reads and checks everything, `walk_headers` only what leads from one batch to the next. Both stop with
`BadBatch` where the chain breaks; neither looks at whether offsets follow each other.
"""

from collections.abc import Iterator

import attrs

from minibroker.protocol.errors import CorruptMessage
from minibroker.records.batch import HEADER_BYTES, BatchHeader, decode_header, verify_crc
from minibroker.storage.errors import StorageError
from minibroker.storage.filesystem import File

CHUNK_BYTES = 1_048_576
HEADER_CHUNK_BYTES = 8_192  # two index intervals: a lookup mostly needs one read
SPARSE_BATCH_BYTES = 4_096  # behind a batch larger than this only the next header is read


@attrs.define
class BadBatch(Exception):
    """No whole, undamaged batch begins here."""

    position: int
    reason: str

    def __str__(self) -> str:
        return f"{self.reason} at position {self.position}"


def walk_batches(file: File, position: int, end_position: int) -> Iterator[tuple[int, BatchHeader, memoryview]]:
    """Yield (position, header, whole batch) with good CRCs. The views hold one chunk of the file alive.

    Raises BadBatch at the first one that is damaged or does not end by `end_position`, StorageError at the first one that
    cannot be read.
    """
    chunk, chunk_position, chunk_bytes = memoryview(b""), position, CHUNK_BYTES
    while position < end_position:
        at = position - chunk_position
        if len(chunk) - at < HEADER_BYTES:
            chunk = _read_ahead(file, position, end_position, chunk_bytes, HEADER_BYTES)
            chunk_position, at, chunk_bytes = position, 0, min(len(chunk), CHUNK_BYTES)
        header = _decode(chunk, at, position)
        size = header.batch_length + 12
        if size > end_position - position:
            raise BadBatch(position, f"a batch of {size} bytes where {end_position - position} are left")
        if at + size > len(chunk):
            chunk = _read_ahead(file, position, end_position, chunk_bytes, size)
            chunk_position, at, chunk_bytes = position, 0, min(len(chunk), CHUNK_BYTES)
        batch = chunk[at : at + size]
        try:
            verify_crc(batch)
        except CorruptMessage as error:
            raise BadBatch(position, str(error)) from error
        yield position, header, batch
        position += size


def walk_headers(file: File, position: int, end_position: int) -> Iterator[tuple[int, BatchHeader]]:
    """Yield (position, header), reading little more than the headers. Raises BadBatch where the chain breaks."""
    chunk, chunk_position, chunk_bytes = memoryview(b""), position, HEADER_CHUNK_BYTES
    while position < end_position:
        at = position - chunk_position
        if len(chunk) - at < HEADER_BYTES:
            chunk, chunk_position, at = _read(file, position, end_position, chunk_bytes), position, 0
        header = _decode(chunk, at, position)
        size = header.batch_length + 12
        if size > end_position - position:
            raise BadBatch(position, f"a batch of {size} bytes where {end_position - position} are left")
        chunk_bytes = HEADER_BYTES if size > SPARSE_BATCH_BYTES else HEADER_CHUNK_BYTES
        yield position, header
        position += size


def _decode(chunk: memoryview, at: int, position: int) -> BatchHeader:
    try:
        header = decode_header(chunk, at)
    except CorruptMessage as error:
        raise BadBatch(position, str(error)) from error
    if header.last_offset_delta < 0 or header.base_offset < 0:
        raise BadBatch(position, f"base offset {header.base_offset}, last offset delta {header.last_offset_delta}")
    return header


def _read_ahead(file: File, position: int, end_position: int, size: int, needed: int) -> memoryview:
    """More than is needed, unless that cannot be read: a bad sector hides no batch before it."""
    try:
        return _read(file, position, end_position, max(size, needed))
    except StorageError:
        return _read(file, position, end_position, needed)


def _read(file: File, position: int, end_position: int, size: int) -> memoryview:
    return memoryview(file.pread(min(size, end_position - position), position))
