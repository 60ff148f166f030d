"""Kafka's key hash."""

from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_python_murmur2

from minibroker.records.murmur2 import murmur2, partition_for_key


@given(st.binary(max_size=64))
def test_agrees_with_kafka_python(key: bytes) -> None:
    """A key lands in the partition where another client puts it."""
    theirs = kafka_python_murmur2(key)
    assert murmur2(key) == theirs & 0xFFFF_FFFF
    assert partition_for_key(key, 12) == (theirs & 0x7FFF_FFFF) % 12


def test_known_values() -> None:
    """The vectors of Kafka's own test of its hash."""
    vectors = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }
    assert {key: murmur2(key) for key in vectors} == {key: value & 0xFFFF_FFFF for key, value in vectors.items()}
