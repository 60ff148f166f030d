"""The stopwatch: which part of a load counts."""

import os

import pytest

from minibroker.load.errors import LoadError
from minibroker.load.measurement import Phase, Stopwatch
from minibroker.load.process import read_process
from minibroker.load.specs import Span


def answer(stopwatch: Stopwatch, times: int = 1, latency_s: float = 0.001) -> None:
    """As a lane does: count an answer of two records and ten bytes, then look at the clock."""
    for _ in range(times):
        stopwatch.tally.requests += 1
        stopwatch.tally.records += 2
        stopwatch.tally.bytes += 10
        stopwatch.latencies_s.append(latency_s)
        stopwatch.update(stopwatch._deadline + 1)


def phase_of(stopwatch: Stopwatch) -> Phase:
    """Where it is now; mypy takes the attribute for what it was."""
    return stopwatch.phase


def test_what_comes_before_and_after_does_not_count() -> None:
    """The answer that ends the warm-up is the first that is not counted, the one past the end the last that is."""
    stopwatch = Stopwatch(Span(warm_up_s=0, seconds=1000, max_bytes=30))
    answer(stopwatch, latency_s=9.0)
    assert phase_of(stopwatch) is Phase.MEASURED
    for _ in range(2):
        stopwatch.tally.requests += 1
        stopwatch.tally.bytes += 10
        stopwatch.latencies_s.append(0.5)
        stopwatch.update(0)
        assert phase_of(stopwatch) is Phase.MEASURED
    answer(stopwatch, latency_s=0.25)
    assert phase_of(stopwatch) is Phase.DRAINING
    answer(stopwatch, latency_s=7.0)
    measured = stopwatch.measurement()
    assert (measured.requests, measured.bytes) == (3, 30)
    assert (measured.p50_ms, measured.max_ms) == (500, 500)


def test_a_single_long_request_is_a_measurement() -> None:
    """Time is not cut in the middle of a request: the load goes on until there is one answer at least."""
    stopwatch = Stopwatch(Span(warm_up_s=0, seconds=0))
    answer(stopwatch)
    stopwatch.update(stopwatch._deadline + 5)
    assert phase_of(stopwatch) is Phase.MEASURED
    answer(stopwatch)
    assert stopwatch.measurement().requests == 1


def test_without_an_answer_there_is_no_figure() -> None:
    """A load that ends while it warms up says so in place of a zero."""
    stopwatch = Stopwatch(Span())
    stopwatch.finish()
    with pytest.raises(LoadError, match="before it could be measured"):
        stopwatch.measurement()


def test_rates_are_per_second_and_costs_per_gigabyte() -> None:
    """The arithmetic of a measurement, in units of ten to the sixth and ninth."""
    stopwatch = Stopwatch(Span(warm_up_s=0, seconds=0))
    answer(stopwatch, 2)
    from attrs import evolve

    measured = evolve(stopwatch.measurement(), seconds=2.0, bytes=4_000_000_000, records=10, broker_cpu_s=8.0)
    assert (measured.mb_per_s, measured.records_per_s, measured.cpu_s_per_gb) == (2000, 5, 2)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc on this system")
def test_processor_time_comes_from_the_system() -> None:
    """Work shows in the reading of the process that did it; a process that is gone has none."""
    before = read_process(os.getpid())
    assert before is not None
    while (after := read_process(os.getpid())) is not None and after.cpu_s < before.cpu_s + 0.02:
        sum(range(10_000))
    assert after is not None
    assert after.peak_rss_bytes >= after.rss_bytes > 1_000_000
    assert read_process(2**22 + 1) is None
