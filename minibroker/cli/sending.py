"""Sending a stream of lines and answering for every one of them.

Each record's delivery is watched. What the broker refuses for the record's own sake (too large, say) is told by its
line while the rest goes on; any other failure, or Ctrl-C, ends the reading, and what has been read is still delivered.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs
import trio

from minibroker.cli import FAILURE, INTERRUPTED, SUCCESS
from minibroker.cli.jsonlines import InputRecord
from minibroker.cli.lines import GivenLines, Input, LineReader
from minibroker.cli.problems import CommandError, one_line
from minibroker.cli.progress import Meter
from minibroker.cli.reach import look_up
from minibroker.cli.signals import obey_signals
from minibroker.cli.words import counted
from minibroker.client.batches import Delivery
from minibroker.client.producer import Producer
from minibroker.protocol.errors import ErrorCode, KafkaError

if TYPE_CHECKING:
    from minibroker.cli.produce import ProduceOptions

GRACE_S: Final = 10.0  # how long an interrupted program goes on delivering what it has read
TOLD_FAILURES: Final = 10

# Refusals that say something about one record, not about the way to the broker.
_OWN_FAULT: Final = frozenset(
    {
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.RECORD_LIST_TOO_LARGE,
        ErrorCode.INVALID_RECORD,
        ErrorCode.INVALID_TIMESTAMP,
    }
)


@attrs.define(eq=False, kw_only=True)
class Sending:
    """A run: what is under way, what has failed, what has been done."""

    topic: str
    producer: Producer
    read: Callable[[bytes], InputRecord]
    meter: Meter
    line_number: int = 0
    acknowledged: int = 0
    failed: int = 0
    stopped: bool = False
    """A failure, or the user, has put an end to reading."""
    interrupted: bool = False
    last: Delivery | None = None
    _under_way: deque[tuple[int, Delivery]] = attrs.Factory(deque)
    _reading: trio.CancelScope = attrs.Factory(trio.CancelScope)

    @property
    def unanswered(self) -> int:
        """How many records have been given to the producer and neither acknowledged nor refused."""
        return len(self._under_way)

    async def run(self, lines: LineReader | GivenLines) -> None:
        """Send line after line, to the end or until stopped; then wait for what is under way."""
        while not self.stopped:
            block: list[bytes] = []
            with trio.CancelScope() as self._reading:
                block = await lines.next_lines()
            if not block:
                break
            await self._send_lines(block)
            self.meter.advance(len(block), sum(map(len, block)) + len(block))
        with suppress(KafkaError):  # of some record; `_settle` tells which
            await self.producer.flush()
        self._settle()

    def interrupt(self) -> None:
        """Read no more."""
        self.stopped = self.interrupted = True
        self._reading.cancel()

    async def _send_lines(self, lines: list[bytes]) -> None:
        send_nowait, topic, read = self.producer.send_nowait, self.topic, self.read
        for line in lines:
            self.line_number += 1
            try:
                value, key, headers, timestamp_ms, partition = read(line)
                try:
                    delivery = send_nowait(topic, value, key, partition, headers, timestamp_ms)
                except trio.WouldBlock:
                    self._settle()
                    delivery = await self.producer.send(
                        topic, value, key=key, partition=partition, headers=headers, timestamp_ms=timestamp_ms
                    )
            except CommandError as error:
                await self.producer.flush()
                raise CommandError(f"line {self.line_number}: {error}") from None
            except KafkaError as error:
                self._fail(self.line_number, error)
                continue
            self._under_way.append((self.line_number, delivery))
        self._settle()
        await trio.lowlevel.checkpoint()

    def _settle(self) -> None:
        """Account for what has been answered, in the order of the lines."""
        under_way = self._under_way
        while under_way and under_way[0][1].done:
            number, delivery = under_way.popleft()
            if (error := delivery.error) is None:
                self.acknowledged += 1
                self.last = delivery
            else:
                self._fail(number, error)

    def _fail(self, number: int, error: KafkaError) -> None:
        self.failed += 1
        self.stopped = self.stopped or error.code not in _OWN_FAULT
        if self.failed <= TOLD_FAILURES:
            self.meter.say(f"minibroker: line {number} was not acknowledged: {one_line(str(error))}")


async def run_sending(topic: str, source: Input, read: Callable[[bytes], InputRecord], options: ProduceOptions) -> int:
    """Send everything; the exit status. Raises CommandError and KafkaError for what keeps it from beginning."""
    lines = source.open()
    await look_up(options.broker)
    with Meter(total_bytes=source.size_bytes, quiet=options.quiet or source.is_terminal) as meter:
        producer = Producer(
            options.broker,
            acks=options.acks,
            compression=options.compression,
            linger_ms=options.linger_ms,
            client_id="minibroker-produce",
        )
        sending = Sending(topic=topic, producer=producer, read=read, meter=meter)
        async with trio.open_nursery() as nursery:

            def interrupt() -> None:
                nursery.cancel_scope.deadline = trio.current_time() + GRACE_S
                sending.interrupt()

            await nursery.start(obey_signals, interrupt)
            async with producer:
                await sending.run(lines)
            nursery.cancel_scope.cancel()
    if not options.quiet:
        print(_summary(sending, meter), file=sys.stderr)
    if sending.failed or sending.unanswered:
        return FAILURE
    return INTERRUPTED if sending.interrupted else SUCCESS


def _summary(sending: Sending, meter: Meter) -> str:
    parts = [f"{counted(sending.acknowledged, 'record')} sent to {sending.topic}{meter.figures()}"]
    if sending.acknowledged == 1 and sending.last is not None:
        stored = sending.last.result_nowait()
        parts = [f"1 record sent to {sending.topic}: partition {stored.partition}, offset {stored.offset}"]
    if sending.failed:
        parts.append(f"{sending.failed:,} refused")
    if sending.unanswered:
        parts.append(f"{sending.unanswered:,} not acknowledged")
    if sending.stopped:
        parts.append(f"stopped after line {sending.line_number:,}")
    return ", ".join(parts)
