"""Load for any Kafka-compatible broker, made to cost almost nothing itself.

A client that builds records and tracks their fate spends more processor time than the broker it measures. Here the
requests are made once, before the clock starts; while it runs, a few bytes of each are patched, and of each answer
only the error codes are read. What was acknowledged is counted against the log afterwards, so a figure is never
about records that are not there.

`minibroker bench` and the benchmarks in ``tests/benchmarks`` are built on it.
"""

from minibroker.load.errors import LoadError
from minibroker.load.measurement import Measurement
from minibroker.load.specs import EndToEndSpec, FetchSpec, ProduceSpec

__all__ = ["EndToEndSpec", "FetchSpec", "LoadError", "Measurement", "ProduceSpec"]
