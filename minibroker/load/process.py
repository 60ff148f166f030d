"""What the operating system knows about a process: processor time and memory."""

from __future__ import annotations

import os
from pathlib import Path

import attrs


@attrs.frozen
class ProcessReading:
    """Of all threads of one process, kernel and user time together."""

    cpu_s: float
    rss_bytes: int
    peak_rss_bytes: int


def read_process(pid: int) -> ProcessReading | None:
    """Read it now; None where there is no /proc, or no such process."""
    directory = Path("/proc") / str(pid)
    try:
        # The name of the program, in parentheses, may hold spaces: the fields are counted from behind it.
        after_name = (directory / "stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in (directory / "status").read_text().splitlines())
    except FileNotFoundError:
        return None
    ticks = int(after_name[11]) + int(after_name[12])  # utime and stime: fields 14 and 15 of proc_pid_stat(5)
    return ProcessReading(ticks / os.sysconf("SC_CLK_TCK"), _bytes(status["VmRSS"]), _bytes(status["VmHWM"]))


def _bytes(kilobytes: str) -> int:
    return int(kilobytes.split()[0]) * 1024
