"""One JSON file with every round of every case: kept after each round, so a run can be interrupted and resumed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import cattrs

from tests.benchmarks.case import Sample
from tests.benchmarks.processes import ROOT

FORMAT = 1


@attrs.define
class Results:
    """What was measured, when, where and on what."""

    machine: dict[str, str]
    quick: bool = False
    format: int = FORMAT
    rounds: dict[str, list[dict[str, Sample]]] = attrs.field(factory=dict)
    """By case, in the order they ran."""

    errors: dict[str, str] = attrs.field(factory=dict)
    """Why a side of a case, ``case/side``, has no figures."""

    def of(self, case: str) -> Sequence[dict[str, Sample]]:
        """The rounds of a case."""
        return self.rounds.get(case, [])

    def add(self, case: str, round_: dict[str, Sample]) -> None:
        """Add a round."""
        self.rounds.setdefault(case, []).append(round_)

    def save(self, path: Path) -> None:
        """Write the file aside and rename it, so that an interrupted run leaves a whole one."""
        aside = path.with_suffix(".new")
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(_rounded(cattrs.unstructure(self)), indent=1) + "\n")
        os.replace(aside, path)

    @classmethod
    def load(cls, path: Path) -> Results | None:
        """Read the file; None if there is none, or one of another format."""
        if not path.exists():
            return None
        raw = json.loads(path.read_text())
        return cattrs.structure(raw, cls) if raw.get("format") == FORMAT else None


def describe_machine(kafka: str | None) -> dict[str, str]:
    """What has to be known of a machine to read figures from it."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "revision": _first_line("git", "rev-parse", "--short", "HEAD"),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory_gb": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f}",
        "python": platform.python_version(),
        "trio": version("trio"),
        "kafka": kafka or "none",
        "java": _java(),
    }


def _rounded(value: Any) -> Any:
    """Six digits are more than any figure is worth, and keep the file readable."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _java() -> str:
    try:
        done = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "none"
    return done.stderr.splitlines()[0] if done.stderr else "unknown"


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
