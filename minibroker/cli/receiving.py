"""Reading topics to standard output, from a position or as a member of a group.

What has been written counts as read: in a group it is committed, every second and at an orderly end, which the first
Ctrl-C is too. If the reader of our output goes away, the records that it may not have got are not committed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import attrs
import trio

from minibroker.cli import BROKEN_PIPE, FAILURE, SUCCESS
from minibroker.cli.positions import END
from minibroker.cli.printing import STANDARD_OUTPUT, Printer, write_all
from minibroker.cli.problems import CommandError
from minibroker.cli.progress import Meter
from minibroker.cli.reach import look_up
from minibroker.cli.signals import obey_signals
from minibroker.cli.words import counted
from minibroker.client.consumer import Consumer
from minibroker.client.metadata import ClusterInfo, TopicPartition
from minibroker.client.partition_state import Seek, Start

if TYPE_CHECKING:
    from minibroker.cli.consume import ConsumeOptions

POLL_RECORDS: Final = 10_000
COMMIT_INTERVAL_MS: Final = 1_000
LOOK_AROUND_MS: Final = (
    100  # how often, while nothing comes, a run that is to stop at the end looks whether it is there
)
NEW_TOPIC_CHECK_MS: Final = 1_000


@attrs.define(eq=False, kw_only=True)
class Receiving:
    """A run: how far it has come, and where it stops."""

    printer: Printer
    meter: Meter
    max_records: float
    stops_at_end: bool
    interrupted: bool = False
    records: int = 0
    _ends: dict[TopicPartition, int] | None = None
    """Where the partitions end at which this run is to stop; None until they are known."""
    _polling: trio.CancelScope = attrs.Factory(trio.CancelScope)

    async def run(self, consumer: Consumer) -> None:
        """Print what comes, to the end or until interrupted. Raises BrokenPipeError."""
        timeout_ms = LOOK_AROUND_MS if self.stops_at_end else None
        while not self.interrupted and self.records < self.max_records and not await self._at_end(consumer):
            wanted = int(min(POLL_RECORDS, self.max_records - self.records))
            batches = []
            with trio.CancelScope() as self._polling:
                batches = await consumer.poll_batches(wanted, timeout_ms)
            if not batches:
                continue
            printed = b"".join([self.printer(batch.topic, batch.partition, batch.records) for batch in batches])
            await trio.to_thread.run_sync(write_all, printed)  # in a thread: heartbeats go on while a pipe is full
            count = sum(len(batch.records) for batch in batches)
            self.records += count
            self.meter.advance(count, len(printed))

    def interrupt(self) -> None:
        """Wait for nothing more."""
        self.interrupted = True
        self._polling.cancel()

    async def stop_at(self, consumer: Consumer, partitions: Iterable[TopicPartition]) -> None:
        """Take what is the end of these partitions now for the end of the run, along with the others."""
        if self.stops_at_end:
            self._ends = {**(self._ends or {}), **await consumer.end_offsets(partitions)}

    async def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """These are somebody else's now."""
        for partition in partitions:
            if self._ends:
                self._ends.pop(partition, None)

    async def _at_end(self, consumer: Consumer) -> bool:
        if self._ends is None:
            return False
        for partition, end in list(self._ends.items()):
            position = 0
            with trio.move_on_after(LOOK_AROUND_MS / 1000):  # a partition without a leader does not hold up the others
                position = await consumer.position(partition)
            if position < end:
                return False
            self._ends.pop(partition, None)
        return True


async def run_receiving(topics: Sequence[str], start: Seek, printer: Printer, options: ConsumeOptions) -> int:
    """Print what is asked for; the exit status. Raises CommandError and KafkaError."""
    info = await look_up(options.broker, topics)
    partitions = _partitions(info, topics, options)
    status = SUCCESS
    with Meter(quiet=options.quiet or os.isatty(STANDARD_OUTPUT)) as meter:
        receiving = Receiving(
            printer=printer,
            meter=meter,
            max_records=float("inf") if options.max is None else options.max,
            stops_at_end=options.exit,
        )
        consumer = _consumer(topics, partitions, start, receiving, options)
        async with trio.open_nursery() as nursery:
            await nursery.start(obey_signals, receiving.interrupt)
            try:
                async with consumer:
                    await _begin(consumer, partitions, start, receiving)
                    await receiving.run(consumer)
            except BrokenPipeError:  # caught out here, so that the consumer knows that its last records were not read
                status = BROKEN_PIPE
            nursery.cancel_scope.cancel()
    if not options.quiet and status == SUCCESS:
        print(_summary(topics, receiving, meter), file=sys.stderr)
    return status


def _partitions(info: ClusterInfo, topics: Sequence[str], options: ConsumeOptions) -> list[TopicPartition]:
    """The partitions to read, as far as they are known; raises CommandError for those that ought to exist."""
    counts = info.partitions_of(topics)
    if missing := [topic for topic in topics if topic not in counts]:
        if options.exit or options.partition:
            raise CommandError(f"expected an existing topic, found no {missing[0]!r}", FAILURE)
        if not options.quiet:
            print(f"{', '.join(missing)}: no such topic yet; waiting for it", file=sys.stderr)
    for topic, count in counts.items():
        for index in options.partition:
            if not 0 <= index < count:
                raise CommandError(f"--partition expects 0 to {count - 1} for topic {topic}, found {index}", FAILURE)
    return [TopicPartition(topic, index) for topic in counts for index in options.partition or range(counts[topic])]


def _consumer(
    topics: Sequence[str],
    partitions: Sequence[TopicPartition],
    start: Seek,
    receiving: Receiving,
    options: ConsumeOptions,
) -> Consumer:
    # A run that is to stop, that was given partitions, or a number in each, keeps to what there is; any other follows
    # its topics as they grow.
    fixed = options.group is None and (options.exit or bool(options.partition) or start.start is Start.OFFSET)

    async def on_assigned(assigned: frozenset[TopicPartition]) -> None:
        await receiving.stop_at(consumer, assigned)

    consumer = Consumer(
        options.broker,
        topics=() if fixed else topics,
        partitions=partitions if fixed else (),
        group=options.group,
        start=start,
        auto_offset_reset=Start.LATEST if start == END else Start.EARLIEST,
        group_instance_id=options.group_instance_id,
        session_timeout_ms=options.session_timeout_ms,
        heartbeat_interval_ms=min(3_000, options.session_timeout_ms // 3),
        auto_commit_interval_ms=COMMIT_INTERVAL_MS,
        on_assigned=on_assigned,
        on_revoked=receiving.forget,
        metadata_max_age_ms=NEW_TOPIC_CHECK_MS if len({topic for topic, _ in partitions}) < len(topics) else 300_000,
        allow_auto_create_topics=False,
        client_id="minibroker-consume",
    )
    return consumer


async def _begin(consumer: Consumer, partitions: Sequence[TopicPartition], start: Seek, receiving: Receiving) -> None:
    """Learn where to stop; bring an offset that does not exist (yet, or any more) to the nearest that does."""
    if consumer.group is not None:
        return  # its partitions are not known before it has joined
    await receiving.stop_at(consumer, partitions)
    if start.start is Start.OFFSET:
        first = await consumer.beginning_offsets(partitions)
        last = await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, min(max(start.value, first[partition]), last[partition]))


def _summary(topics: Sequence[str], receiving: Receiving, meter: Meter) -> str:
    return f"{counted(receiving.records, 'record')} from {', '.join(topics)}{meter.figures()}"
