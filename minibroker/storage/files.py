"""Every name of a file or directory below the data directory. Kafka's own names where Kafka has one.

data/
  .lock                                    held while a broker runs
  format                                   format version and cluster id
  checkpoint                               durable ends, log starts and producers of all partitions
  reserve                                  space for the next checkpoint, given up when the disk is full
  clean-shutdown                           there only between a clean stop and the next start
  <topic>-<index>/                         one partition
    partition.metadata                     the topic id
    compacted                              there since the first compaction: offsets may be missing
    00000000000000000000.log               record batches; the name is the base offset, 20 digits
    00000000000000000000.index             offset -> position
    00000000000000000000.timeindex         timestamp -> offset
    00000000000000000000.cleaned           compaction in progress, worthless after a crash
    00000000000000000000-00000000000000004711.swap
                                           compacted, complete and durable: about to replace the segments whose
                                           base offsets are in this range, the second one exclusive
    00000000000000004711.torn              bytes cut from the end by a recovery; the name is the offset they claimed
  <topic>-<index>.<32 hex digits>-delete/  a partition being removed; the digits are the topic id
  <topic>-<index>.<32 hex digits>-stray/   one that no topic owns, set aside; `.1` and so on follow the digits where the
                                           name is taken
"""

import base64
import re
import uuid

from fastcrc import crc32

LOCK = ".lock"
FORMAT = "format"
CHECKPOINT = "checkpoint"
RESERVE = "reserve"
CLEAN_SHUTDOWN = "clean-shutdown"
PARTITION_METADATA = "partition.metadata"
COMPACTED = "compacted"

LOG = ".log"
INDEX = ".index"
TIME_INDEX = ".timeindex"
CLEANED = ".cleaned"
SWAP = ".swap"
TORN = ".torn"
DELETE = "-delete"
STRAY = "-stray"

MAX_NAME_BYTES = 255

_partition_directory = re.compile(r"(?P<topic>[a-zA-Z0-9._-]+)-(?P<index>[0-9]+)")
_deleted_directory = re.compile(r".*-([0-9]+)\.([0-9a-f]{32})(\.[0-9]+)?" + DELETE)
_segment_file = re.compile(r"[0-9]{20}")
_swap_file = re.compile(r"([0-9]{20})-([0-9]{20})\.swap")


def segment_name(base_offset: int) -> str:
    """Name of a segment's files without their suffix."""
    return f"{base_offset:020}"


def base_offset_of(name: str, suffix: str = LOG) -> int | None:
    """Base offset in the name of a segment's file with that suffix; None if it is another file."""
    stem = name.removesuffix(suffix)
    if stem == name or not _segment_file.fullmatch(stem):
        return None
    return int(stem)


def swap_name(base_offset: int, end_offset: int) -> str:
    """Name of a compacted segment that is about to replace those whose base offsets are in the range."""
    return f"{base_offset:020}-{end_offset:020}{SWAP}"


def parse_swap_name(name: str) -> tuple[int, int] | None:
    """Base offset and end offset in the name of a compacted segment's file; None if it is another file."""
    match = _swap_file.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def partition_name(topic: str, index: int) -> str:
    """Name of a partition's directory."""
    return f"{topic}-{index}"


def parse_partition_name(name: str) -> tuple[str, int] | None:
    """Topic and index of a partition's directory; None if it is no such name (or one being deleted)."""
    match = _partition_directory.fullmatch(name)
    if match is None or name.endswith(DELETE):
        return None
    return match["topic"], int(match["index"])


def hidden_name(name: str, topic_id: uuid.UUID, kind: str, number: int = 0) -> str:
    """Name of a partition's directory that is removed (DELETE), or that no topic owns and we never remove (STRAY).

    Each partition has its own, and further ones by number. The topic is shortened where needed: the longest fill a name.
    """
    topic, _, index = name.rpartition("-")
    rest = f"-{index}.{topic_id.hex}{f'.{number}' if number else ''}{kind}"
    return topic[: MAX_NAME_BYTES - len(rest)] + rest


def parse_deleted_name(name: str) -> tuple[uuid.UUID, int] | None:
    """Topic id and index of a partition's directory that is removed; None if it is no such name."""
    match = _deleted_directory.fullmatch(name)
    return None if match is None else (uuid.UUID(match[2]), int(match[1]))


def encode_partition_metadata(topic_id: uuid.UUID) -> bytes:
    """Content of `partition.metadata` as Kafka writes it, and a line that Kafka does not look at, with the CRC-32C."""
    encoded = base64.urlsafe_b64encode(topic_id.bytes).rstrip(b"=").decode()
    content = f"version: 0\ntopic_id: {encoded}\n".encode()
    return content + b"crc: %08x" % crc32.iscsi(content)


def decode_partition_metadata(content: bytes) -> uuid.UUID | None:
    """Topic id in `partition.metadata`; None if the content is damaged."""
    match = re.fullmatch(rb"version: 0\ntopic_id: ([A-Za-z0-9_-]{22})\n?(?:crc: ([0-9a-f]{8}))?", content)
    if match is None:
        return None
    topic_id = uuid.UUID(bytes=base64.urlsafe_b64decode(match[1] + b"=="))
    has_sum = match[2] is not None  # which earlier revisions did not write
    return None if has_sum and content != encode_partition_metadata(topic_id) else topic_id
