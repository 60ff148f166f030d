"""Kafka's own command-line tools: where they are, and how to run one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

VARIABLE = "TEST_KAFKA_TOOLS"
PEERS = Path(__file__).parents[3] / "shared" / "peers" / "kafka"
"""A script that knows a class path, where the project is checked out beside one."""

INSTALL_S = 600
RUN_S = 120


@attrs.frozen
class KafkaTools:
    """Java and a class path with org.apache.kafka:kafka_2.13 and kafka-tools."""

    java: str
    class_path: str

    def _attempt(self, tool: str, arguments: tuple[str, ...], stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a tool, named without its package where that is org.apache.kafka.tools."""
        name = tool if tool.startswith("kafka.") else f"org.apache.kafka.tools.{tool}"
        return subprocess.run(
            [self.java, "-Xmx256M", "-XX:TieredStopAtLevel=1", "-cp", self.class_path, name, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )

    def run(self, tool: str, *arguments: str, stdin: str = "") -> str:
        """What a tool writes to standard output; it must succeed."""
        done = self._attempt(tool, arguments, stdin)
        assert done.returncode == 0, f"{tool} {arguments}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def dump(self, *arguments: str) -> str:
        """What DumpLogSegments writes, faults included, of which it tells on standard error.

        Not included is its complaint that the first offset of a segment does not follow -1.
        """
        done = self._attempt("DumpLogSegments", arguments)
        assert done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}"
        complaint = r"Non-consecutive offsets in \S+\n  -1 is followed by \d+\n"
        return done.stdout + re.sub(complaint, "", done.stderr)

    def refused(self, tool: str, *arguments: str) -> str:
        """What a tool writes that must fail."""
        done = self._attempt(tool, arguments)
        assert done.returncode != 0, f"{tool} {arguments}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def find_tools() -> KafkaTools:
    """Return the tools, or skip the test and say what is missing."""
    java = shutil.which("java")
    if java is None:
        pytest.skip("Kafka's tools need java, and there is none on the PATH")
    class_path = os.environ.get(VARIABLE)
    if class_path is None and PEERS.exists():
        found = subprocess.run([PEERS, "classpath"], capture_output=True, text=True, timeout=INSTALL_S, check=True)
        class_path = found.stdout.strip()
    if not class_path:
        pytest.skip(f"set {VARIABLE} to a class path with org.apache.kafka:kafka_2.13 and kafka-tools")
    return KafkaTools(java, class_path)
