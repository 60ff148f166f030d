"""Offset commits: each connection is one group that commits, hears that it has, and commits again."""

from __future__ import annotations

import struct
import time
from typing import Final

import attrs

from minibroker.load.errors import LoadError
from minibroker.load.frames import positions_of, ready_frame
from minibroker.load.lanes import Lane, run_lanes
from minibroker.load.measurement import Measurement, Stopwatch, Tally
from minibroker.load.specs import Span
from minibroker.load.wire import PATIENCE_S, Wire
from minibroker.protocol.errors import ErrorCode, error_for
from minibroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from minibroker.protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from minibroker.protocol.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestTopic

COMMIT_VERSION: Final = 7
FETCH_VERSION: Final = 5
FIND_VERSION: Final = 2
_OFFSET: Final = struct.Struct(">q")
_PLACEHOLDER: Final = _OFFSET.pack(0x5EED_5EED)
POLL_S: Final = 0.05


@attrs.frozen(kw_only=True)
class CommitSpec:
    """``groups`` connections, each a consumer that is in no group but has a group's offsets to keep."""

    address: str
    topic: str
    groups: int
    span: Span = attrs.field(factory=Span)
    pid: int | None = None


@attrs.define(eq=False)
class CommitConversation:
    """Commits ever larger offsets. The error code is what the answer, about one partition, ends with."""

    group: str
    topic: str
    tally: Tally
    committed: int = 0
    _frame: bytearray = attrs.field(init=False)
    _patch_at: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        (placeholder,) = _OFFSET.unpack(_PLACEHOLDER)
        partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=placeholder, committed_metadata="")
        topic = OffsetCommitRequestTopic(name=self.topic, partitions=[partition])
        self._frame = ready_frame(OffsetCommitRequest(group_id=self.group, topics=[topic]), COMMIT_VERSION)
        (self._patch_at,) = positions_of(_PLACEHOLDER, self._frame, 1)

    def next_request(self) -> memoryview:
        """The frame, with the next offset."""
        _OFFSET.pack_into(self._frame, self._patch_at, self.committed + 1)
        return memoryview(self._frame)

    def on_response(self, frame: memoryview) -> None:
        """Count the commit. Raises LoadError."""
        if code := int.from_bytes(frame[-2:], "big", signed=True):
            raise LoadError(f"committing for {self.group}: {error_for(code)}")
        self.committed += 1
        self.tally.requests += 1
        self.tally.records += 1
        self.tally.bytes += len(self._frame)


def run_commits(spec: CommitSpec) -> Measurement:
    """Commit as the spec says, then read every group's offset back. Raises LoadError if one is not the last."""
    stopwatch = Stopwatch(spec.span, spec.pid)
    groups = [CommitConversation(f"{spec.topic}-{index}", spec.topic, stopwatch.tally) for index in range(spec.groups)]
    lanes = [Lane(find_coordinator(spec.address, group.group, spec.topic), group, stopwatch) for group in groups]
    run_lanes(lanes)
    for group, lane in zip(groups, lanes, strict=True):
        stored = _committed(lane.address, group.group, spec.topic)
        if stored != group.committed:
            raise LoadError(f"{group.group} committed {group.committed}, the broker has {stored}")
    return stopwatch.measurement()


def find_coordinator(address: str, group: str, topic: str) -> str:
    """Where the coordinator of a group is, once it is at work. Raises LoadError."""
    deadline = time.monotonic() + PATIENCE_S
    with Wire(address) as wire:
        while True:
            found = wire.ask(FindCoordinatorRequest(key=group), FIND_VERSION)
            coordinator = f"{found.host}:{found.port}"
            if found.error_code == ErrorCode.NONE and _committed(coordinator, group, topic) is not None:
                return coordinator
            if time.monotonic() > deadline:
                raise LoadError(f"no coordinator of {group}: {error_for(found.error_code)}")
            time.sleep(POLL_S)


def _committed(coordinator: str, group: str, topic: str) -> int | None:
    """What a group has committed; None while its coordinator is not at work."""
    with Wire(coordinator) as wire:
        topics = [OffsetFetchRequestTopic(name=topic, partition_indexes=[0])]
        answer = wire.ask(OffsetFetchRequest(group_id=group, topics=topics), FETCH_VERSION)
    return None if answer.error_code else answer.topics[0].partitions[0].committed_offset
