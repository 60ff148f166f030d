"""What the machine can do at best at the work of a broker, without one.

The same four measurements everywhere: receive and write is the ceiling of produce, sendfile that of fetch, appends
with fdatasync those of durable produce, in large pieces and one small piece at a time.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import socket
import tempfile
import time
from collections.abc import Callable
from typing import Final, Literal

import attrs

from minibroker.load.statistics import percentile

CHUNK_BYTES: Final = 1 << 20
SYNCED_BYTES: Final = 4 << 20
SMALL_BYTES: Final = 4 << 10

LimitName = Literal["receive-and-write", "sendfile", "sendfile-cold", "synced-append", "small-synced-append"]

# macOS has no fdatasync, and keeps its fsync from reaching the disk: what is measured there is not the same promise.
sync: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


@attrs.frozen(kw_only=True)
class LimitSpec:
    """Which limit, on the file system of which directory, and how much to move."""

    limit: LimitName
    directory: str
    total_bytes: int = 1 << 30
    seconds: float = 1.5
    """For the synced ones, which have no natural end."""


def run_limit(spec: LimitSpec) -> dict[str, float]:
    """Measure one limit."""
    with tempfile.TemporaryFile(dir=spec.directory, buffering=0) as file:
        descriptor = file.fileno()
        if spec.limit == "receive-and-write":
            return {"mb_per_s": _with_peer(_send, spec.total_bytes, lambda sock: _receive(sock, descriptor))}
        if spec.limit in ("sendfile", "sendfile-cold"):
            _fill(descriptor, spec.total_bytes)
            if spec.limit == "sendfile-cold":
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            return {
                "mb_per_s": _with_peer(
                    _drain, spec.total_bytes, lambda sock: _sendfile(sock, descriptor, spec.total_bytes)
                )
            }
        return _append(descriptor, SYNCED_BYTES if spec.limit == "synced-append" else SMALL_BYTES, spec.seconds)


def _append(descriptor: int, size_bytes: int, seconds: float) -> dict[str, float]:
    block = random.Random(0).randbytes(size_bytes)
    times: list[float] = []
    begin = now = time.perf_counter()
    while now - begin < seconds:
        os.write(descriptor, block)
        sync(descriptor)
        before, now = now, time.perf_counter()
        times.append(now - before)
    elapsed, ordered = now - begin, sorted(times)
    return {
        "mb_per_s": len(times) * size_bytes / elapsed / 1e6,
        "records_per_s": len(times) / elapsed,
        "p50_ms": percentile(ordered, 50) * 1e3,
        "p99_ms": percentile(ordered, 99) * 1e3,
    }


def _with_peer(peer: Callable[[int, int], None], total_bytes: int, work: Callable[[socket.socket], None]) -> float:
    """Run ``work`` on a connection whose other end is in a process of its own; megabytes per second."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("spawn").Process(
            target=peer, args=(listener.getsockname()[1], total_bytes)
        )
        process.start()
        sock, _ = listener.accept()
        begin = time.perf_counter()
        with sock:
            work(sock)
        process.join()
        return total_bytes / (time.perf_counter() - begin) / 1e6


def _send(port: int, total_bytes: int) -> None:
    block = random.Random(0).randbytes(CHUNK_BYTES)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        for _ in range(total_bytes // CHUNK_BYTES):
            sock.sendall(block)


def _drain(port: int, _: int) -> None:
    buffer = bytearray(CHUNK_BYTES)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        while sock.recv_into(buffer):
            pass


def _receive(sock: socket.socket, descriptor: int) -> None:
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while count := sock.recv_into(buffer):
        os.write(descriptor, buffer[:count])


def _sendfile(sock: socket.socket, descriptor: int, total_bytes: int) -> None:
    position = 0
    while position < total_bytes:
        position += os.sendfile(sock.fileno(), descriptor, position, CHUNK_BYTES)


def _fill(descriptor: int, total_bytes: int) -> None:
    block = random.Random(0).randbytes(CHUNK_BYTES)
    for _ in range(total_bytes // CHUNK_BYTES):
        os.write(descriptor, block)
