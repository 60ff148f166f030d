"""The program that runs one load: ``python -m tests.benchmarks.generator KIND SPEC`` prints its figures as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import cattrs

from minibroker.load.end_to_end import run_end_to_end
from minibroker.load.errors import LoadError
from minibroker.load.fetching import run_fetch
from minibroker.load.measurement import Measurement
from minibroker.load.producing import run_produce
from minibroker.load.specs import EndToEndSpec, FetchSpec, ProduceSpec
from tests.benchmarks.loads.clients import ClientSpec, run_client
from tests.benchmarks.loads.commits import CommitSpec, run_commits
from tests.benchmarks.loads.idle import IdleSpec, run_idle
from tests.benchmarks.loads.limits import LimitSpec, run_limit

KINDS: Final[Mapping[str, tuple[type[Any], Callable[[Any], Measurement | dict[str, float]]]]] = {
    "produce": (ProduceSpec, run_produce),
    "fetch": (FetchSpec, run_fetch),
    "end-to-end": (EndToEndSpec, run_end_to_end),
    "commits": (CommitSpec, run_commits),
    "client": (ClientSpec, run_client),
    "limit": (LimitSpec, run_limit),
    "idle": (IdleSpec, run_idle),
}


def figures(measured: Measurement | dict[str, float]) -> dict[str, float]:
    """A measurement as the flat figures that results hold."""
    if isinstance(measured, dict):
        return measured
    plain = {name: value for name, value in attrs.asdict(measured).items() if value is not None}
    plain["mb_per_s"], plain["records_per_s"] = measured.mb_per_s, measured.records_per_s
    if (cost := measured.cpu_s_per_gb) is not None:
        plain["cpu_s_per_gb"] = cost
    plain["load_share"] = measured.load_cpu_s / measured.seconds
    return plain


def main() -> None:
    """Run what the arguments say."""
    kind, spec = sys.argv[1:]
    spec_class, run = KINDS[kind]
    try:
        print(json.dumps(figures(run(cattrs.structure(json.loads(spec), spec_class)))))
    except LoadError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
