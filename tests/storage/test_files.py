"""Names of files: what is built is parsed again, and nothing else is taken for one of ours."""

import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minibroker.storage import files

TOPICS = st.from_regex(r"[a-zA-Z0-9._-]{1,249}", fullmatch=True)


@given(st.integers(0, 2**63 - 1))
def test_segment_names(base_offset: int) -> None:
    """Twenty digits, and back."""
    name = files.segment_name(base_offset)
    assert len(name) == 20
    assert files.base_offset_of(name + files.LOG) == base_offset
    assert files.base_offset_of(name + files.INDEX, files.INDEX) == base_offset


@pytest.mark.parametrize("name", ["1.log", "0" * 20, "0" * 21 + ".log", "x" * 20 + ".log", "0" * 20 + ".log.tmp"])
def test_other_names_are_no_segments(name: str) -> None:
    """Only exactly twenty digits and the suffix."""
    assert files.base_offset_of(name) is None


@given(TOPICS, st.integers(0, 10**6))
def test_partition_names(topic: str, index: int) -> None:
    """The index follows the last dash; topics may contain dashes."""
    assert files.parse_partition_name(files.partition_name(topic, index)) == (topic, index)


@given(TOPICS, st.integers(0, 10**6), st.uuids(), st.integers(0, 10**6), st.sampled_from([files.DELETE, files.STRAY]))
def test_hidden_names(topic: str, index: int, topic_id: uuid.UUID, number: int, kind: str) -> None:
    """They are no partitions any more, fit into a directory entry, and tell whose they are where that is needed."""
    name = files.hidden_name(files.partition_name(topic, index), topic_id, kind, number)
    assert len(name) <= files.MAX_NAME_BYTES
    assert name.endswith(kind)
    assert files.parse_partition_name(name) is None
    assert files.parse_deleted_name(name) == ((topic_id, index) if kind == files.DELETE else None)


@given(TOPICS, st.uuids())
@example("n" * 249, uuid.UUID(int=1))
def test_hidden_names_of_one_topic_differ(topic: str, topic_id: uuid.UUID) -> None:
    """Also those that were shortened, and further ones for one partition."""
    indexes = (0, 1, 9, 10, 100, 12345)
    names = [
        files.hidden_name(files.partition_name(topic, index), topic_id, files.DELETE, number)
        for index in indexes
        for number in range(3)
    ]
    assert len(set(names)) == len(names)


@given(st.uuids())
def test_partition_metadata(topic_id: uuid.UUID) -> None:
    """Round trip in Kafka's format: base64 for URLs without padding."""
    content = files.encode_partition_metadata(topic_id)
    assert content.startswith(b"version: 0\ntopic_id: ")
    assert b"=" not in content
    assert files.decode_partition_metadata(content) == topic_id
    assert files.decode_partition_metadata(content.partition(b"\ncrc")[0]) == topic_id  # by an earlier revision


@given(st.uuids(), st.integers(0), st.integers(1, 255))
def test_no_wrong_byte_makes_another_topic_of_a_partition(topic_id: uuid.UUID, place: int, change: int) -> None:
    """Whatever byte of `partition.metadata` becomes another, it says this id or none."""
    content = bytearray(files.encode_partition_metadata(topic_id))
    content[place % len(content)] ^= change
    assert files.decode_partition_metadata(bytes(content)) in (None, topic_id)


@pytest.mark.parametrize("content", [b"", b"version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA", b"version: 0\ntopic_id: AA"])
def test_damaged_partition_metadata(content: bytes) -> None:
    """Is None, not an exception."""
    assert files.decode_partition_metadata(content) is None
