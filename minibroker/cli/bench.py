"""`minibroker bench`: the flags."""

from __future__ import annotations

from typing import Annotated, Literal

import attrs
from cyclopts import Parameter, validators

from minibroker.cli.options import DEFAULT_BROKER, BrokerOption, JsonOption, program

app = program(
    "minibroker bench", "Measure a broker, or compare two: any that speak Kafka's protocol without a password."
)

Work = Literal["produce", "fetch", "latency"]
Count = Annotated[int, Parameter(validator=validators.Number(gte=1))]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class BenchOptions:
    """What load to put on, and on whom."""

    broker: BrokerOption = DEFAULT_BROKER
    against: Annotated[
        str | None, Parameter(help="A second broker, HOST:PORT: both run in turns, and the ratios are shown.")
    ] = None
    runs: Annotated[
        Count | None, Parameter(help="How often to measure; the median counts. [default: 1, or 3 --against another]")
    ] = None
    seconds: Annotated[float, Parameter(help="How long to measure, after half a second to warm up.")] = 3
    batch_bytes: Annotated[Count, Parameter(help="Size of the record batches.")] = 16_384
    record_bytes: Annotated[Count, Parameter(help="Size of the records in them.")] = 100
    compression: Annotated[
        Literal["none", "gzip", "snappy", "lz4", "zstd"], Parameter(alias="-z", help="The codec.")
    ] = "none"
    acks: Annotated[Literal["1", "all"], Parameter(help="When the broker may answer.")] = "all"
    connections: Annotated[Count, Parameter(help="Connections that produce or fetch.")] = 1
    in_flight: Annotated[Count, Parameter(help="Unanswered requests on each connection that produces.")] = 5
    partitions: Annotated[Count, Parameter(help="Partitions of the topic.")] = 1
    pid: Annotated[int | None, Parameter(help="Process of the broker, if it runs here: shows its processor time.")] = (
        None
    )
    json: JsonOption = False


@app.default
def bench(*works: Work, options: BenchOptions = BenchOptions()) -> int:  # frozen
    """Put load on a broker: ready-made requests that cost this program almost nothing.

    Makes a topic of its own and deletes it at the end. What was acknowledged is counted in the log.

    Parameters
    ----------
    works
        Any of `produce` (batches), `fetch` (the same from the beginning) and `latency` (one record at a time from a
        producer to a waiting consumer). All three, unless some are named.
    """
    from minibroker.cli.benching import run_bench

    return run_bench(works or ("produce", "fetch", "latency"), options)
