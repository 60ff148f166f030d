"""What to do to a broker: values that travel as JSON to the process that does it."""

from __future__ import annotations

from typing import Final

import attrs

ACKS_ALL: Final = -1
ACKS_LEADER: Final = 1


@attrs.frozen(kw_only=True)
class Span:
    """How long to run. A load warms up first, and ends with whatever limit comes first."""

    warm_up_s: float = 0.5
    seconds: float = 5.0
    max_bytes: int | None = None
    """Ends the measured part after so many bytes of batches, so that a fast broker does not fill the disk."""


@attrs.frozen(kw_only=True)
class ProduceSpec:
    """The same record batch, again and again, each connection going around its share of the partitions.

    A request holds one batch for each of ``partitions_per_request`` partitions, and each connection keeps
    ``in_flight`` requests unanswered. With ``interval_s`` there is one connection that sends by the clock, and latency
    counts from the moment a request was due: a broker that stalls is charged for everything that had to wait.
    """

    address: str
    topic: str
    partitions: int = 1
    connections: int = 1
    in_flight: int = 5
    partitions_per_request: int = 1
    acks: int = ACKS_ALL
    batch_bytes: int = 16_384
    record_bytes: int = 100
    compression: str = "none"
    interval_s: float | None = None
    span: Span = Span()
    pid: int | None = None
    """The broker's process, if it is on this machine: its processor time and memory are measured too."""


@attrs.frozen(kw_only=True)
class FetchSpec:
    """Reads partitions from the beginning, one response after another on each connection.

    At the end of its partitions a connection starts over if ``repeat``; without it, that is the end of the load.
    """

    address: str
    topic: str
    partitions: int = 1
    connections: int = 1
    partition_max_bytes: int = 1 << 20
    repeat: bool = True
    span: Span = Span()
    pid: int | None = None


@attrs.frozen(kw_only=True)
class EndToEndSpec:
    """One record at a time from a producer to a consumer that is already waiting for it."""

    address: str
    topic: str
    acks: int = ACKS_ALL
    record_bytes: int = 100
    span: Span = Span()
    pid: int | None = None
