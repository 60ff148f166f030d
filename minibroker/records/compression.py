"""Compression of a batch's records: every codec of batch format v2, in the framings that Kafka's clients read.

- gzip: RFC 1952, through the standard library.
- snappy: written in the framing of the Java library ("xerial": a magic, two versions, blocks under a 32-bit length) as
  the Java client does; read in that framing and as one raw block (librdkafka and Go clients send that).
- lz4: the LZ4 frame format. Kafka's reader decodes each block by itself, but cramjam's frames let blocks refer to the
  one before, so the frame is written here around cramjam's blocks. Reading takes any frame.
- zstd: any frame, with or without its content size.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, TypeAlias

import cramjam

from minibroker.protocol.errors import CorruptMessage, KafkaError, UnsupportedCompressionType

Buffer: TypeAlias = bytes | bytearray | memoryview

GZIP_WBITS = 16 + zlib.MAX_WBITS  # 16: with the gzip header and trailer
XERIAL_MAGIC = b"\x82SNAPPY\x00"
XERIAL_HEADER = XERIAL_MAGIC + struct.pack(">ii", 1, 1)  # version, oldest version able to read it
XERIAL_BLOCK_BYTES = 32 * 1024
LZ4_MAGIC = b"\x04\x22\x4d\x18"
# FLG: version 1, independent blocks, no checksums, no content size; BD: the block size; then the descriptor's checksum.
LZ4_DESCRIPTORS = ((64 * 1024, b"\x60\x40\x82"), (256 * 1024, b"\x60\x50\xfb"))
LZ4_STORED = 0x8000_0000  # marks a block that did not shrink and is kept as it was
LZ4_FIRST_HIGH_LEVEL = 3
ZSTD_DEFAULT_LEVEL = 3
FIRST_GUESS = 8  # how many times its compressed size a payload is first assumed to have


class Codec(IntEnum):
    """The compression type in bits 0-2 of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


CODEC_BITS = 7
"""Those of a batch's attributes that name the codec."""


def codec_of(attributes: int) -> Codec:
    """The codec a batch's attributes name; raises UnsupportedCompressionType for 5 to 7, which nobody has defined."""
    number = attributes & CODEC_BITS
    if number > Codec.ZSTD:
        raise UnsupportedCompressionType(f"compression type {number} is unknown")
    return _CODECS[number]


_CODECS = tuple(Codec)  # calling the enum costs five times as much


def compress(codec: Codec, data: Buffer, level: int | None = None) -> bytes:
    """Compress the records of a batch; `level` is the codec's own, None its usual one (snappy has none)."""
    if codec is Codec.NONE:
        return bytes(data)
    return _COMPRESSORS[codec](data, level)


def decompress(codec: Codec, data: Buffer, max_bytes: int) -> bytes:
    """What `compress` was given. Never allocates an output of more than `max_bytes`, whatever the data claims.

    Raises CorruptMessage if the stream is damaged or would grow beyond `max_bytes`. What is not compressed does not grow:
    it was let in with the size that it has, and the broker's own batches may have any.
    """
    if codec is Codec.NONE:
        return bytes(data)
    try:
        return _DECOMPRESSORS[codec](data, max_bytes)
    except (cramjam.DecompressionError, zlib.error, struct.error) as error:
        raise CorruptMessage(f"the {codec.name.lower()} stream is damaged: {error}") from error


def _too_large(codec: Codec, max_bytes: int) -> KafkaError:
    return CorruptMessage(f"records exceed {max_bytes} bytes when decompressed ({codec.name.lower()})")


def _compress_gzip(data: Buffer, level: int | None) -> bytes:
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION if level is None else level, wbits=GZIP_WBITS)
    return compressor.compress(data) + compressor.flush()


def _decompress_gzip(data: Buffer, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    left = max_bytes
    rest: Buffer = data
    while True:  # one round per gzip member: Java's reader takes several
        stream = zlib.decompressobj(wbits=GZIP_WBITS)
        # zlib takes a limit of 0 for none at all; the byte beyond the limit tells "exactly full" from "too large".
        part = stream.decompress(rest, left + 1)
        left -= len(part)
        if left < 0:
            raise _too_large(Codec.GZIP, max_bytes)
        if not stream.eof:
            raise CorruptMessage("the gzip stream is cut short")
        parts.append(part)
        rest = stream.unused_data
        if not rest:
            return b"".join(parts) if len(parts) > 1 else part


def _compress_snappy(data: Buffer, level: int | None) -> bytes:
    view = memoryview(data)
    parts: list[Any] = [XERIAL_HEADER]
    for start in range(0, len(view), XERIAL_BLOCK_BYTES):
        block = cramjam.snappy.compress_raw(view[start : start + XERIAL_BLOCK_BYTES])
        parts += (len(block).to_bytes(4, "big"), block)
    return b"".join(parts)


def _decompress_snappy(data: Buffer, max_bytes: int) -> bytes:
    view = memoryview(data)
    blocks = _xerial_blocks(view) if view[: len(XERIAL_MAGIC)] == XERIAL_MAGIC else (view,)
    if sum(cramjam.snappy.decompress_raw_len(block) for block in blocks) > max_bytes:
        raise _too_large(Codec.SNAPPY, max_bytes)
    return b"".join([cramjam.snappy.decompress_raw(block) for block in blocks])


def _xerial_blocks(view: memoryview) -> Sequence[memoryview]:
    # The two versions are not looked at: some producers wrote them little-endian.
    position = len(XERIAL_HEADER)
    blocks = []
    while position < len(view):
        (size,) = struct.unpack_from(">i", view, position)
        start, position = position + 4, position + 4 + size
        if size <= 0 or position > len(view):
            raise CorruptMessage(f"the snappy stream has a block of {size} bytes where {len(view) - start} are left")
        blocks.append(view[start:position])
    return blocks


def _compress_lz4(data: Buffer, level: int | None) -> bytes:
    view = memoryview(data)
    size, descriptor = LZ4_DESCRIPTORS[len(view) > LZ4_DESCRIPTORS[0][0]]
    options: dict[str, Any] = {}
    if level is not None and level >= LZ4_FIRST_HIGH_LEVEL:
        options = {"mode": "high_compression", "compression": level}
    parts: list[Any] = [LZ4_MAGIC, descriptor]
    for start in range(0, len(view), size):
        plain = view[start : start + size]
        block = cramjam.lz4.compress_block(plain, store_size=False, **options)
        if len(block) < len(plain):
            parts += (len(block).to_bytes(4, "little"), block)
        else:
            parts += ((len(plain) | LZ4_STORED).to_bytes(4, "little"), plain)
    parts.append(bytes(4))  # the end mark
    return b"".join(parts)


def _decompress_lz4(data: Buffer, max_bytes: int) -> bytes:
    return _decompress_growing(cramjam.lz4.decompress_into, data, max_bytes)


def _compress_zstd(data: Buffer, level: int | None) -> bytes:
    return bytes(cramjam.zstd.compress(data, level=ZSTD_DEFAULT_LEVEL if level is None else level))


def _decompress_zstd(data: Buffer, max_bytes: int) -> bytes:
    return _decompress_growing(cramjam.zstd.decompress_into, data, max_bytes)


def _decompress_growing(decompress_into: Callable[[Buffer, bytearray], int], data: Buffer, max_bytes: int) -> bytes:
    """Decompress into a buffer that grows to `max_bytes` at most: what a frame says of its own size is only a claim."""
    capacity = min(max_bytes, max(4096, FIRST_GUESS * len(data)))
    while True:
        output = bytearray(capacity)
        try:
            size = decompress_into(data, output)
        except cramjam.DecompressionError:
            # Too small a buffer and a damaged stream look alike, so a damaged one is tried up to the limit too.
            if capacity == max_bytes:
                raise
            capacity = min(max_bytes, 4 * capacity)
        else:
            return bytes(memoryview(output)[:size])


_COMPRESSORS: dict[Codec, Callable[[Buffer, int | None], bytes]] = {
    Codec.GZIP: _compress_gzip,
    Codec.SNAPPY: _compress_snappy,
    Codec.LZ4: _compress_lz4,
    Codec.ZSTD: _compress_zstd,
}
_DECOMPRESSORS: dict[Codec, Callable[[Buffer, int], bytes]] = {
    Codec.GZIP: _decompress_gzip,
    Codec.SNAPPY: _decompress_snappy,
    Codec.LZ4: _decompress_lz4,
    Codec.ZSTD: _decompress_zstd,
}
