"""The programs in docs/client.md run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_program_of_the_page_runs(our_broker: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In order, against a broker of ours; each prints something."""
    page = (ROOT / "docs" / "client.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(programs) == 4
    for program in programs:
        code = program.replace("127.0.0.1:9092", our_broker)
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout
