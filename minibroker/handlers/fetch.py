"""Fetch (1), versions 4-17: records from a position on, waiting for them if need be.

- The bytes of whole batches go from the segment to the socket as they are; a fetch from the middle of a batch gets all of
  it, and the first batch is given even if it is larger than the limits (KIP-74).
- Waits until `min_bytes` can be read or `max_wait_ms` is over; an error in any partition ends the wait. Requests for many
  partitions are read in turns, and wait only as long as all of them together do not wait for too many.
- v7 has fetch sessions (KIP-227): every answer says session 0, which makes clients ask in full each time. Only a request
  that continues a session is refused; one that begins or closes a session (epoch 0 or -1) is a full request.
- v9 checks the leader epoch (KIP-320), v12 adds diverging epochs (no other leader ever was), v13 topic ids (KIP-516),
  v15 and v17 concern followers, of which we have none.
- read_committed reads to the last stable offset; there are no transactions yet, so that no batch is ever aborted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

import attrs
import trio

from minibroker.handlers.context import Reply, RequestContext, Services
from minibroker.handlers.leader_epoch import check_leader_epoch
from minibroker.handlers.turns import memory_for_requests
from minibroker.protocol.errors import (
    ErrorCode,
    FetchSessionIdNotFound,
    InvalidRequest,
    KafkaError,
    KafkaStorageError,
    OffsetOutOfRange,
    UnknownTopicId,
)
from minibroker.protocol.messages.fetch import (
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    PartitionData,
)
from minibroker.storage.errors import StorageError
from minibroker.storage.reading import FileSlice
from minibroker.topics.catalog import at_once
from minibroker.topics.partition import Partition

READ_COMMITTED = 1
FULL_EPOCHS = (0, -1)
CHECKED_PARTITIONS = 100
"""A request for more partitions than this may name none of them twice: each time it is read."""
TURN_PARTITIONS = 500
"""How many are read before others have their turn."""
AWAITED_BYTES = 1024
"""What it takes to wait for a partition."""
FEW_PARTITIONS = 4
"""To read so many again costs as little as to read first what has moved."""
Wanted = tuple[FetchTopic, FetchPartition]


def handle(request: FetchRequest, context: RequestContext) -> Reply:
    """Read what there is; wait if that is too little."""
    if request.session_epoch not in FULL_EPOCHS:
        raise FetchSessionIdNotFound(f"no fetch session has the id {request.session_id}")
    services = context.services
    count = _count_partitions(request)
    deadline = services.clock.now() + request.max_wait_ms / 1000
    fetch = _Fetch(request, context.version, services)
    if count > TURN_PARTITIONS:
        if (services.awaited + count) * AWAITED_BYTES <= memory_for_requests(services):
            return fetch.wait_long(deadline, count)
        deadline = services.clock.now()  # too many wait already: it gets what there is
    response, done = fetch.read()
    if (done or deadline <= services.clock.now()) and not fetch.unchecked:
        return response
    return fetch.wait(deadline)


def _count_partitions(request: FetchRequest) -> int:
    """How many partitions it names. Raises InvalidRequest for a long list that repeats itself."""
    count = sum([len(topic.partitions) for topic in request.topics])
    if count > CHECKED_PARTITIONS:
        named = {
            (topic.topic, topic.topic_id, wanted.partition) for topic in request.topics for wanted in topic.partitions
        }
        if len(named) < count:
            raise InvalidRequest(f"expected {count} different partitions, found {len(named)}")
    return count


@attrs.define(eq=False)
class _Fetch:
    """One request; `read` may be tried as often as its partitions move."""

    request: FetchRequest
    version: int
    services: Services
    unchecked: list[tuple[Partition, FileSlice]] = attrs.field(factory=list)
    """What the last read found and nobody has verified since the broker started: it must not be sent yet."""
    _unreadable: dict[Partition, tuple[int, KafkaError]] = attrs.field(factory=dict)
    """How much is still to be tried where the disk did not give more, and what it said."""
    _event: trio.Event = attrs.field(factory=trio.Event)
    _moved: set[int] = attrs.field(factory=set)
    """Which of the partitions have moved since they were last read, by their place in the request."""
    _is_long: bool = False
    _look_again: bool = False
    """Whether everything has to be read again."""

    def read(self) -> tuple[FetchResponse, bool]:
        """Return the response as of now, and whether it need not wait for more."""
        return at_once(self._reading())

    async def _read_in_turns(self) -> tuple[FetchResponse, bool]:
        """The same of many partitions: others have their turn meanwhile."""
        async with self.services.long_answers:
            reading = self._reading()
            try:
                while True:
                    next(reading)
                    await trio.lowlevel.checkpoint()
            except StopIteration as end:
                result: tuple[FetchResponse, bool] = end.value
                return result

    def _reading(self) -> Generator[int, None, tuple[FetchResponse, bool]]:
        self.unchecked = []
        left = min(self.request.max_bytes, self.services.settings.fetch_max_bytes)
        found = 0
        failed = False
        looked = 0
        topics = []
        for topic in self.request.topics:
            partitions: list[PartitionData] = []
            for wanted in topic.partitions:
                try:
                    data = self._read_partition(topic, wanted, left, first=not found)
                    size = data.records.size_bytes if data.records else 0
                    left -= size
                    found += size
                except KafkaError as error:
                    failed = True
                    data = _refusal(wanted, error)
                partitions.append(data)
                looked += 1
                if not looked % TURN_PARTITIONS:
                    yield TURN_PARTITIONS
            topics.append(FetchableTopicResponse(topic=topic.topic, topic_id=topic.topic_id, partitions=partitions))
        done = failed or found >= self.request.min_bytes or not self.request.topics
        return FetchResponse(responses=topics), done

    def wait_long(self, deadline: float, count: int) -> Coroutine[Any, Any, FetchResponse]:
        """Read in turns and wait as one of the few requests for so many partitions that may."""
        self._is_long = True
        self.services.awaited += count
        return self._wait_counted(deadline, count)

    async def _wait_counted(self, deadline: float, count: int) -> FetchResponse:
        try:
            return await self.wait(deadline)
        finally:
            self.services.awaited -= count

    async def wait(self, deadline: float) -> FetchResponse:
        """Read again what has moved, until it is enough or the time is over; then all."""
        wanted = [(topic, partition) for topic in self.request.topics for partition in topic.partitions]
        waiters = self._waiters(wanted)
        for partition, waiter in waiters:
            partition.add_waiter(waiter)
        self.services.polls.add(self._wake)
        try:
            with trio.move_on_at(deadline):
                while True:
                    self._event = trio.Event()
                    self._moved.clear()
                    self._look_again = False
                    response, done = await self._read_checked()
                    if done or self.services.ending or self.services.clock.now() >= deadline:
                        return response
                    sizes = [
                        data.records.size_bytes if data.records else 0
                        for topic in response.responses
                        for data in topic.partitions
                    ]
                    del response  # which is as large as all that it tells of
                    await self._wait_enough(wanted, sizes)
        finally:
            self.services.polls.discard(self._wake)
            for partition, waiter in waiters:
                partition.remove_waiter(waiter)
        return (await self._read_checked())[0]

    async def _wait_enough(self, wanted: list[Wanted], sizes: list[int]) -> None:
        """Return when there may be enough to read: `sizes` is how much there is of each."""
        if len(wanted) <= FEW_PARTITIONS:
            await self._event.wait()
            return
        while True:
            await self._event.wait()
            self._event = trio.Event()
            moved, self._moved = self._moved, set()
            if self._look_again or self._may_suffice(wanted, sizes, moved):
                return

    def _may_suffice(self, wanted: list[Wanted], sizes: list[int], moved: set[int]) -> bool:
        """Read what has moved, and note in `sizes` how much there is; whether that is enough, or an error."""
        limit = min(self.request.max_bytes, self.services.settings.fetch_max_bytes)
        total = sum(sizes)
        for index in moved:
            total -= sizes[index]
            try:
                data = self._read_partition(*wanted[index], limit - total, first=not total)
            except KafkaError:
                return True
            sizes[index] = data.records.size_bytes if data.records else 0
            total += sizes[index]
        self.unchecked = []  # the read of everything finds out
        return total >= self.request.min_bytes

    async def _read_checked(self) -> tuple[FetchResponse, bool]:
        """Read, verify what has not been verified yet, and read again: what is damaged shows as an error then.

        Of what cannot be read at all half as much is tried, until that is what lies before the bad sector, or one batch.
        """
        response, done = await self._read()
        while self.unchecked:
            for partition, part in self.unchecked:
                try:
                    await partition.check(part)
                except StorageError as error:
                    self._unreadable[partition] = part.size_bytes // 2, KafkaStorageError(f"{partition}: {error}")
            response, done = await self._read()
        return response, done

    async def _read(self) -> tuple[FetchResponse, bool]:
        return await self._read_in_turns() if self._is_long else self.read()

    def _wake(self) -> None:
        self._look_again = True
        self._event.set()

    def _wake_for(self, index: int) -> None:
        self._moved.add(index)
        self._event.set()

    def _waiters(self, wanted: list[Wanted]) -> list[tuple[Partition, Callable[[], None]]]:
        """The partitions that can be waited for, and what they shall call. A wait begins only when none is in error."""
        waiters: list[tuple[Partition, Callable[[], None]]] = []
        for index, (topic, partition) in enumerate(wanted):
            with contextlib.suppress(KafkaError):
                waiters.append((self._find(topic, partition.partition), partial(self._wake_for, index)))
        return waiters

    def _find(self, topic: FetchTopic, index: int) -> Partition:
        if self.version < 13:
            return self.services.catalog.partition(topic.topic, index)
        found = self.services.catalog.topic_by_id(topic.topic_id)
        if found is None:
            raise UnknownTopicId(f"no topic has the id {topic.topic_id}")
        return found.partition(index)

    def _read_partition(self, topic: FetchTopic, wanted: FetchPartition, left: int, *, first: bool) -> PartitionData:
        partition = self._find(topic, wanted.partition)
        check_leader_epoch(partition, wanted.current_leader_epoch)
        offset = wanted.fetch_offset
        if not partition.log_start_offset <= offset <= partition.log_end_offset:
            raise OffsetOutOfRange(
                f"{partition} has offsets {partition.log_start_offset} to {partition.log_end_offset}, not {offset}"
            )
        records = None
        if first or left > 0:
            most, error = self._unreadable.get(partition, (left, None))
            records = partition.read(offset, max(0, min(left, wanted.partition_max_bytes, most)), at_least_one=first)
            if error is not None and (records is None or records.size_bytes > most):
                raise error
            if records is not None and not records.checked:
                self.unchecked.append((partition, records))
        return PartitionData(
            partition_index=wanted.partition,
            error_code=ErrorCode.NONE,
            high_watermark=partition.high_watermark,
            last_stable_offset=partition.last_stable_offset,
            log_start_offset=partition.log_start_offset,
            aborted_transactions=[] if self.request.isolation_level == READ_COMMITTED else None,
            records=records or b"",
        )


def _refusal(wanted: FetchPartition, error: KafkaError) -> PartitionData:
    return PartitionData(
        partition_index=wanted.partition,
        error_code=error.code,
        high_watermark=-1,
        last_stable_offset=-1,
        log_start_offset=-1,
        aborted_transactions=None,
        records=b"",
    )
