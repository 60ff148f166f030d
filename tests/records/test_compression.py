"""Every codec: round trips, foreign framings, and streams that mean harm."""

import gzip
import struct
import tracemalloc

import cramjam
import pytest
from aiokafka import codec as aiokafka_codec
from hypothesis import given
from hypothesis import strategies as st

from minibroker.protocol.errors import CorruptMessage, UnsupportedCompressionType
from minibroker.records.compression import Codec, codec_of, compress, decompress

REAL_CODECS = [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD]
MIB = 1024 * 1024


def payload_of(size: int) -> bytes:
    """Text that compresses like text."""
    return b"".join(b'{"id": %d, "name": "user %d"}\n' % (n * 7919 % 100_000, n % 13) for n in range(size // 20))[:size]


@pytest.mark.parametrize("codec", Codec)
@given(data=st.binary(max_size=3000), level=st.sampled_from([None, 1, 3, 9]))
def test_round_trip(codec: Codec, data: bytes, level: int | None) -> None:
    """What was compressed comes back, at every level, within a limit that is exactly its size."""
    assert decompress(codec, memoryview(compress(codec, memoryview(data), level)), len(data)) == data


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("size", [0, 1, 32 * 1024, 64 * 1024, 64 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 3 * MIB])
def test_round_trip_around_block_sizes(codec: Codec, size: int) -> None:
    """Payloads of several blocks come back, and those that end with a block."""
    data = payload_of(size)
    assert decompress(codec, compress(codec, data), 4 * MIB) == data


@pytest.mark.parametrize("codec", REAL_CODECS)
def test_the_limit_is_exact(codec: Codec) -> None:
    """One byte less than the payload is too little."""
    stream = compress(codec, payload_of(100_000))
    with pytest.raises(CorruptMessage):
        decompress(codec, stream, 99_999)


@pytest.mark.parametrize(
    ("codec", "encode", "decode"),
    [
        (Codec.GZIP, aiokafka_codec.gzip_encode, aiokafka_codec.gzip_decode),
        (Codec.SNAPPY, aiokafka_codec.snappy_encode, aiokafka_codec.snappy_decode),
        (Codec.LZ4, aiokafka_codec.lz4_encode, aiokafka_codec.lz4_decode),
        (Codec.ZSTD, aiokafka_codec.zstd_encode, aiokafka_codec.zstd_decode),
    ],
)
def test_another_client_reads_ours_and_we_read_its(codec, encode, decode) -> None:  # type: ignore[no-untyped-def]
    """Our framing is the one aiokafka expects, and the other way round."""
    data = payload_of(300_000)
    assert bytes(decode(compress(codec, data))) == data
    assert decompress(codec, bytes(encode(data)), MIB) == data


def test_snappy_is_read_as_one_raw_block() -> None:
    """librdkafka sends snappy without any framing."""
    data = payload_of(100_000)
    assert decompress(Codec.SNAPPY, bytes(cramjam.snappy.compress_raw(data)), MIB) == data


def test_xerial_versions_are_not_looked_at() -> None:
    """Some producers wrote the two version numbers of the framing little-endian."""
    stream = bytearray(compress(Codec.SNAPPY, b"hello"))
    stream[8:16] = struct.pack("<ii", 1, 1)
    assert decompress(Codec.SNAPPY, stream, 100) == b"hello"


def test_lz4_blocks_are_independent() -> None:
    """The Java client decodes each block by itself: flag bit 5 says we wrote them so, and each decodes alone."""
    data = payload_of(600_000)
    stream = compress(Codec.LZ4, data)
    assert stream[4] & 0x20
    position, parts = 7, []
    while size := int.from_bytes(stream[position : position + 4], "little"):
        block = stream[position + 4 : position + 4 + size]
        output = bytearray(256 * 1024)
        parts.append(output[: cramjam.lz4.decompress_block_into(block, output)])
        position += 4 + size
    assert (b"".join(parts), position + 4) == (data, len(stream))


def test_several_gzip_members_are_one_stream() -> None:
    """Java's reader goes on after the first member, so do we, and the limit is one for all of them."""
    stream = gzip.compress(b"a" * 1000) + gzip.compress(b"b" * 1000)
    assert decompress(Codec.GZIP, stream, 2000) == b"a" * 1000 + b"b" * 1000
    with pytest.raises(CorruptMessage):
        decompress(Codec.GZIP, stream, 1999)


def test_zstd_without_its_content_size() -> None:
    """Streaming compressors do not know the size beforehand and leave it out."""
    compressor = cramjam.zstd.Compressor()
    compressor.compress(payload_of(200_000))
    stream = bytes(compressor.finish())
    assert decompress(Codec.ZSTD, stream, MIB) == payload_of(200_000)


@pytest.mark.parametrize("codec", REAL_CODECS)
def test_a_bomb_costs_no_memory(codec: Codec) -> None:
    """64 MiB of zeros in a small stream are refused at a limit of 1 MiB without ever being there."""
    bomb = compress(codec, bytes(64 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(CorruptMessage):
            decompress(codec, bomb, MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MIB + len(bomb)


def test_a_claimed_size_is_only_a_claim() -> None:
    """A raw snappy block that says 4 GiB is refused by its first bytes."""
    with pytest.raises(CorruptMessage):
        decompress(Codec.SNAPPY, b"\xff\xff\xff\xff\x0f" + bytes(100), MIB)


@pytest.mark.parametrize("codec", REAL_CODECS)
def test_every_truncation_is_refused(codec: Codec) -> None:
    """A stream cut at any byte raises CorruptMessage, or is empty of content."""
    stream = compress(codec, payload_of(2000))
    for size in range(len(stream)):
        try:
            assert len(decompress(codec, stream[:size], MIB)) < 2000
        except CorruptMessage:
            continue


@pytest.mark.parametrize("codec", REAL_CODECS)
@given(garbage=st.binary(max_size=100), keep=st.integers(0, 30))
def test_garbage_raises_corrupt_message_only(codec: Codec, garbage: bytes, keep: int) -> None:
    """Whatever the bytes, the answer is data or CorruptMessage."""
    try:
        decompress(codec, compress(codec, b"some data" * 9)[:keep] + garbage, 10_000)
    except CorruptMessage:
        return


def test_undefined_codecs_are_named_so() -> None:
    """Types 5 to 7 mean nothing yet."""
    assert [codec_of(attributes) for attributes in range(5)] == list(Codec)
    for attributes in (5, 6, 7):
        with pytest.raises(UnsupportedCompressionType):
            codec_of(attributes)
