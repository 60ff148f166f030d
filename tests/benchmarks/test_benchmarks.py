"""The benchmarks for real: they measure and never judge, as the figures of a busy machine say nothing."""

from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.cases import CASES
from tests.benchmarks.results import Results


@pytest.mark.benchmark
def test_every_case_runs(tmp_path: Path) -> None:
    """A quick run has figures of every side of every case, as far as there is a Kafka to compare with."""
    path = tmp_path / "results.json"
    assert main(["--quick", "--runs", "1", "--results", str(path)]) == 0
    results = Results.load(path)
    assert results is not None
    missing = [
        f"{case.name}/{side}"
        for case in CASES
        for side in case.sides
        if not any(side in r for r in results.of(case.name))
    ]
    if results.machine["kafka"] == "none":
        pytest.skip("NO KAFKA: only the sides without it were run")
    assert missing == []
