"""The bytes of the offsets topic."""

import contextlib
import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.groups.formats import decode, encode
from minibroker.groups.records import (
    CommittedOffset,
    GroupMetadata,
    GroupRecord,
    GroupsRecord,
    MemberMetadata,
    OffsetRecord,
)
from minibroker.protocol.errors import ProtocolError

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=20)
OFFSETS = st.builds(
    CommittedOffset,
    offset=INT64,
    leader_epoch=INT32,
    metadata=TEXT | st.text("é", min_size=60, max_size=70),
    commit_timestamp_ms=INT64,
    topic_id=st.none() | st.uuids().filter(lambda topic_id: topic_id.int),
) | st.builds(CommittedOffset, offset=INT64, metadata=TEXT, commit_timestamp_ms=INT64, expire_timestamp_ms=INT64)
MEMBERS = st.builds(
    MemberMetadata,
    member_id=TEXT,
    group_instance_id=st.none() | TEXT,
    client_id=TEXT,
    client_host=TEXT,
    rebalance_timeout_ms=st.integers(0, 2**31 - 1),
    session_timeout_ms=INT32,
    subscription=st.binary(max_size=20),
    assignment=st.binary(max_size=20),
)
GROUPS = st.builds(
    GroupMetadata,
    protocol_type=TEXT,
    generation=INT32,
    protocol=st.none() | TEXT,
    leader=st.none() | TEXT,
    state_timestamp_ms=INT64,
    members=st.lists(MEMBERS, max_size=3).map(tuple),
)
RECORDS: st.SearchStrategy[GroupsRecord] = st.builds(OffsetRecord, TEXT, TEXT, INT32, st.none() | OFFSETS) | st.builds(
    GroupRecord, TEXT, st.none() | GROUPS
)

TOPIC_ID = UUID(bytes=b"\xab" * 16)
OFFSET_KEY = bytes.fromhex("0001 0001 67 0003 746f70 00000007")
GROUP_KEY = bytes.fromhex("0002 0001 67")


@given(RECORDS)
def test_what_is_written_is_read(record: GroupsRecord) -> None:
    """Every record comes back as it was, tombstones included."""
    assert decode(*encode(record)) == record


@given(RECORDS, st.data())
def test_damaged_bytes_are_refused_or_read(record: GroupsRecord, data: st.DataObject) -> None:
    """A cut or changed key or value is a ProtocolError or some other record, never another exception."""
    key, value = encode(record)
    whole = key if value is None or data.draw(st.booleans()) else value
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from([whole[:position], whole[:position] + b"\xff" + whole[position + 1 :], whole + b"\0"])
    )
    with contextlib.suppress(ProtocolError):
        decode(*((damaged, value) if whole is key else (key, damaged)))


def test_an_offset_is_written_as_kafka_writes_it() -> None:
    """Key version 1 and value version 4, field by field."""
    value = CommittedOffset(offset=5, leader_epoch=2, metadata="m", commit_timestamp_ms=9, topic_id=TOPIC_ID)
    key, data = encode(OffsetRecord("g", "top", 7, value))
    assert key == OFFSET_KEY
    assert data == bytes.fromhex("0004 0000000000000005 00000002 02 6d 0000000000000009 01 00 10" + "ab" * 16)


def test_an_offset_that_expires_is_written_in_version_1() -> None:
    """Only version 1 carries an expiry, at the price of the leader epoch."""
    value = CommittedOffset(offset=5, leader_epoch=2, metadata="m", commit_timestamp_ms=9, expire_timestamp_ms=10)
    key, data = encode(OffsetRecord("g", "top", 7, value))
    assert data == bytes.fromhex("0001 0000000000000005 0001 6d 0000000000000009 000000000000000a")
    record = decode(key, data)
    assert isinstance(record, OffsetRecord)
    assert record.value == CommittedOffset(offset=5, metadata="m", commit_timestamp_ms=9, expire_timestamp_ms=10)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            "0000 0000000000000005 0001 6d 0000000000000009",
            CommittedOffset(offset=5, metadata="m", commit_timestamp_ms=9),
        ),
        ("0002 0000000000000005 0000 0000000000000009", CommittedOffset(offset=5, commit_timestamp_ms=9)),
        (
            "0003 0000000000000005 00000002 0001 6d 0000000000000009",
            CommittedOffset(offset=5, leader_epoch=2, metadata="m", commit_timestamp_ms=9),
        ),
        (
            "0004 0000000000000005 00000002 02 6d 0000000000000009 02 00 10" + "ab" * 16 + "07 01 00",
            CommittedOffset(offset=5, leader_epoch=2, metadata="m", commit_timestamp_ms=9, topic_id=TOPIC_ID),
        ),
        (
            "0004 0000000000000005 00000002 02 6d 0000000000000009 01 00 10" + "00" * 16,
            CommittedOffset(offset=5, leader_epoch=2, metadata="m", commit_timestamp_ms=9),
        ),
        (
            "0004 0000000000000005 00000002 01 0000000000000009 00",
            CommittedOffset(offset=5, leader_epoch=2, commit_timestamp_ms=9),
        ),
    ],
    ids=["v0", "v2", "v3", "v4 with a tag of the future", "v4 with the id of none", "v4 without an id"],
)
def test_offsets_of_other_releases_are_read(value: str, expected: CommittedOffset) -> None:
    """Values of every version Kafka has written, or could."""
    assert decode(OFFSET_KEY, bytes.fromhex(value)) == OffsetRecord("g", "top", 7, expected)


def test_a_group_is_written_as_kafka_writes_it() -> None:
    """Key version 2 and value version 3, field by field."""
    member = MemberMetadata(
        member_id="m",
        group_instance_id="i",
        client_id="c",
        client_host="/h",
        rebalance_timeout_ms=3,
        session_timeout_ms=4,
        subscription=b"s",
        assignment=b"",
    )
    value = GroupMetadata(
        protocol_type="consumer", generation=6, protocol="range", leader="m", state_timestamp_ms=8, members=(member,)
    )
    key, data = encode(GroupRecord("g", value))
    assert key == GROUP_KEY
    assert data == bytes.fromhex(
        "0003 0008 636f6e73756d6572 00000006 0005 72616e6765 0001 6d 0000000000000008 00000001"
        "0001 6d 0001 69 0001 63 0002 2f68 00000003 00000004 00000001 73 00000000"
    )


@pytest.mark.parametrize("version", range(5))
def test_groups_of_other_releases_are_read(version: int) -> None:
    """Each version's fields, and what they default to where they are not there."""
    flexible = version >= 4

    def text(value: str) -> bytes:
        return (bytes([len(value) + 1]) if flexible else struct.pack(">h", len(value))) + value.encode()

    def blob(value: bytes) -> bytes:
        return (bytes([len(value) + 1]) if flexible else struct.pack(">i", len(value))) + value

    data = struct.pack(">h", version) + text("consumer") + struct.pack(">i", 6) + text("range") + text("m")
    data += struct.pack(">q", 8) if version >= 2 else b""
    data += bytes([2]) if flexible else struct.pack(">i", 1)
    data += text("m") + (text("i") if version >= 3 else b"") + text("c") + text("h")
    data += (struct.pack(">i", 3) if version >= 1 else b"") + struct.pack(">i", 4) + blob(b"s") + blob(b"a")
    data += b"\0\0" if flexible else b""
    member = MemberMetadata(
        member_id="m",
        group_instance_id="i" if version >= 3 else None,
        client_id="c",
        client_host="h",
        rebalance_timeout_ms=3 if version >= 1 else 4,
        session_timeout_ms=4,
        subscription=b"s",
        assignment=b"a",
    )
    expected = GroupMetadata(
        protocol_type="consumer",
        generation=6,
        protocol="range",
        leader="m",
        state_timestamp_ms=8 if version >= 2 else -1,
        members=(member,),
    )
    assert decode(GROUP_KEY, data) == GroupRecord("g", expected)


def test_records_of_other_group_types_are_not_ours() -> None:
    """A key of a version above 2 (KIP-848 and later) is not an error."""
    assert decode(bytes.fromhex("0003 0001 67"), b"\0\0\0\0\0\1\0") is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0005",
        "0003 00",
        "0003" + "00" * 12 + "ffff" + "00" * 8,
        *("0004" + "00" * zeros + "010010" + "ab" * 16 for zeros in (20, 21)),
    ],
)
def test_values_that_are_none_are_refused(value: str) -> None:
    """Nothing, an unknown version, a cut value, a negative length, and null for the metadata."""
    with pytest.raises(ProtocolError):
        decode(OFFSET_KEY, bytes.fromhex(value))


def test_a_group_that_kafka_wrote() -> None:
    """Bytes of a Kafka 4.3.1: they are read, and written again just so."""
    value = bytes.fromhex(
        "00030008636f6e73756d657200000001000572616e67650026692d35396634376365342d663863372d346434652d393665352d306238"
        "303333333261666139000001a212d7611e000000010026692d35396634376365342d663863372d346434652d393665352d3062383033"
        "33333261666139000169000163000a2f3132372e302e302e31000493e00000afc8000000190003000000010003746f70000000000000"
        "0000ffffffff0000000000170000000000010003746f70000000010000000000000000"
    )
    record = decode(GROUP_KEY, value)
    assert isinstance(record, GroupRecord)
    assert record.value is not None
    (member,) = record.value.members
    assert (record.value.generation, record.value.leader, member.group_instance_id, member.client_host) == (
        1,
        "i-59f47ce4-f8c7-4d4e-96e5-0b803332afa9",
        "i",
        "/127.0.0.1",
    )
    assert encode(record) == (GROUP_KEY, value)


def test_an_offset_that_kafka_wrote() -> None:
    """Bytes of a Kafka 4.3.1: they are read, and written again just so."""
    value = bytes.fromhex("0004000000000000000100000000036d00000001a212d761e3010010a2e3ab256e9246229d495445a368913d")
    expected = CommittedOffset(
        offset=1,
        leader_epoch=0,
        metadata="m\0",
        commit_timestamp_ms=1795612434915,
        topic_id=UUID("a2e3ab25-6e92-4622-9d49-5445a368913d"),
    )
    assert decode(OFFSET_KEY, value) == OffsetRecord("g", "top", 7, expected)
    assert encode(OffsetRecord("g", "top", 7, expected)) == (OFFSET_KEY, value)
