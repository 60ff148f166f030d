"""What a load found out, and the clock that decides which part of it counts."""

from __future__ import annotations

import resource
import time
from array import array
from enum import Enum, auto

import attrs

from minibroker.load.errors import LoadError
from minibroker.load.process import ProcessReading, read_process
from minibroker.load.specs import Span
from minibroker.load.statistics import percentile


@attrs.frozen(kw_only=True)
class Measurement:
    """Figures of the measured part of one load. Latencies are in ms; of the broker is known what the system tells."""

    seconds: float
    requests: int
    records: int
    bytes: int
    """Of record batches, as they lie in the log."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    load_cpu_s: float
    """Processor time of the generator itself: near ``seconds``, the figures are about the generator."""

    broker_cpu_s: float | None = None
    broker_rss_bytes: int | None = None

    @property
    def records_per_s(self) -> float:
        """Acknowledged or read records."""
        return self.records / self.seconds

    @property
    def mb_per_s(self) -> float:
        """Megabytes (10^6) of batches."""
        return self.bytes / self.seconds / 1e6

    @property
    def cpu_s_per_gb(self) -> float | None:
        """Processor seconds of the broker per gigabyte (10^9) of batches."""
        return self.broker_cpu_s / self.bytes * 1e9 if self.broker_cpu_s is not None and self.bytes else None


@attrs.define
class Tally:
    """What has been answered so far."""

    requests: int = 0
    records: int = 0
    bytes: int = 0


class Phase(Enum):
    """Where a load is."""

    WARM_UP = auto()
    MEASURED = auto()
    DRAINING = auto()


@attrs.frozen
class _Mark:
    time_s: float
    tally: Tally
    latencies: int
    load_cpu_s: float
    broker: ProcessReading | None


@attrs.define(eq=False)
class Stopwatch:
    """Cuts the measured part out of a load.

    It begins and ends with an answer, not with a tick of the clock: however long a single request takes, as many
    requests are counted as fit between the two.
    """

    span: Span
    pid: int | None = None
    tally: Tally = attrs.field(factory=Tally)
    latencies_s: array[float] = attrs.field(factory=lambda: array("d"))
    phase: Phase = Phase.WARM_UP
    _deadline: float = attrs.field(init=False)
    _last_bytes: int | None = attrs.field(init=False, default=None)
    _begin: _Mark | None = None
    _end: _Mark | None = None

    def __attrs_post_init__(self) -> None:
        self._deadline = time.perf_counter() + self.span.warm_up_s

    def update(self, now: float) -> None:
        """Move on if it is time to; to be called after answers were counted."""
        if now < self._deadline and (self._last_bytes is None or self.tally.bytes < self._last_bytes):
            return
        if self.phase is Phase.WARM_UP and self.tally.requests:
            self.phase = Phase.MEASURED
            self._begin = self._mark()
            self._deadline = self._begin.time_s + self.span.seconds
            if self.span.max_bytes is not None:
                self._last_bytes = self.tally.bytes + self.span.max_bytes
        elif self._begin is not None and self.tally.requests > self._begin.tally.requests:
            self.finish()

    def finish(self) -> None:
        """End the measured part now, if it is on."""
        if self.phase is Phase.MEASURED:
            self._end = self._mark()
        self.phase = Phase.DRAINING

    def measurement(self) -> Measurement:
        """The figures. Raises LoadError if the load ended before there were any."""
        begin, end = self._begin, self._end
        if begin is None or end is None or end.tally.requests == begin.tally.requests:
            raise LoadError("the load ended before it could be measured: it needs more time, or more to read")
        latencies = sorted(self.latencies_s[begin.latencies : end.latencies])
        before, after = begin.broker, end.broker
        return Measurement(
            seconds=end.time_s - begin.time_s,
            requests=end.tally.requests - begin.tally.requests,
            records=end.tally.records - begin.tally.records,
            bytes=end.tally.bytes - begin.tally.bytes,
            p50_ms=percentile(latencies, 50) * 1e3,
            p99_ms=percentile(latencies, 99) * 1e3,
            max_ms=latencies[-1] * 1e3,
            load_cpu_s=end.load_cpu_s - begin.load_cpu_s,
            broker_cpu_s=after.cpu_s - before.cpu_s if before and after else None,
            broker_rss_bytes=after.rss_bytes if after else None,
        )

    def _mark(self) -> _Mark:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return _Mark(
            time.perf_counter(),
            attrs.evolve(self.tally),
            len(self.latencies_s),
            usage.ru_utime + usage.ru_stime,
            None if self.pid is None else read_process(self.pid),
        )
