"""How long a record takes from a producer to a consumer that waits for it, one record at a time."""

from __future__ import annotations

import time
from typing import Final

from minibroker.load.errors import LoadError
from minibroker.load.fetching import FetchConversation, Reader
from minibroker.load.lanes import Lane
from minibroker.load.measurement import Measurement, Phase, Stopwatch
from minibroker.load.producing import ProduceConversation, make_batch
from minibroker.load.specs import EndToEndSpec, FetchSpec, ProduceSpec, Span
from minibroker.load.topics import end_offsets, leaders

ONE_RECORD_BYTES: Final = 1  # a batch always holds at least one record
PATIENCE_S: Final = 30


def run_end_to_end(spec: EndToEndSpec) -> Measurement:
    """Send one record after another, each once the last has arrived; latencies are those of the consumer.

    Raises LoadError.
    """
    (leader,) = leaders(spec.address, spec.topic, 1)
    ends = end_offsets(spec.address, spec.topic, 1)
    if ends is None:
        raise LoadError(f"{spec.topic} is not available")
    stopwatch = Stopwatch(spec.span, spec.pid)
    producer = _producer(spec, leader)
    reader = Reader(0, ends[0], ends[0] + 1)
    asks = FetchConversation(FetchSpec(address=spec.address, topic=spec.topic), [reader], stopwatch.tally)
    consumer = Lane(leader, asks, stopwatch)
    with producer.sock, consumer.sock:
        while stopwatch.phase is not Phase.DRAINING:
            consumer.fill()  # the broker holds this request until there is a record
            sent_at = time.perf_counter()
            producer.fill()
            _await_record(consumer, reader, sent_at)
            while producer.sent_at:
                producer.receive()
            stopwatch.update(time.perf_counter())
            reader.end = reader.position + 1
    return stopwatch.measurement()


def _producer(spec: EndToEndSpec, leader: str) -> Lane:
    one = ProduceSpec(
        address=spec.address,
        topic=spec.topic,
        acks=spec.acks,
        batch_bytes=ONE_RECORD_BYTES,
        record_bytes=spec.record_bytes,
    )
    unwatched = Stopwatch(Span(warm_up_s=float("inf")))
    return Lane(leader, ProduceConversation(one, [0], *make_batch(one), unwatched.tally), unwatched)


def _await_record(consumer: Lane, reader: Reader, sent_at: float) -> None:
    """Ask again until the record is there; its latency counts from ``sent_at``, whichever answer brought it."""
    latencies = consumer.stopwatch.latencies_s
    known = len(latencies)
    while not reader.is_at_end:
        if time.perf_counter() - sent_at > PATIENCE_S:
            raise LoadError(f"a record was not to be had within {PATIENCE_S} s")
        consumer.fill()
        while consumer.sent_at:
            consumer.receive()
    del latencies[known:]
    latencies.append(time.perf_counter() - sent_at)
