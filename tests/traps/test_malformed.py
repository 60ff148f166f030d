"""Malformed frames, made from valid ones of every API and version, against a live broker beside an honest client."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from minibroker.handlers.registry import BY_KEY
from minibroker.protocol.api import request_class
from minibroker.protocol.codec import decode
from minibroker.protocol.errors import ErrorCode, ProtocolError
from minibroker.protocol.framing import decode_request_header
from tests.traps.process import BrokerProcess
from tests.traps.samples import CASES, Samples
from tests.traps.talk import batch, create, describe, produce, values
from tests.traps.wire import PATIENCE_S, Wire, request_frame

FRAMES = int(os.environ.get("MALFORMED_FRAMES", 10_000_000))
AT_ONCE = 40
"""Connections that are open together."""
MOST_PER_CONNECTION = 12
LEEWAY_BYTES = 48 << 20
"""What memory may grow by: groups and producers that a mutant made up are remembered, as they should be."""
EXTREMES = (
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\0\0",
    b"\xff" * 10,
)


def sample_frames(topic_id: UUID) -> list[bytes]:
    """Frames without their lengths of valid requests of every API and version."""
    samples = Samples("known", topic_id)
    return [request_frame(request, version)[4:] for key, version in CASES for request in samples.of(key, version)]


def mutant(frame: bytes, other: bytes, rng: random.Random) -> bytes:
    """The frame with one to three things wrong with it."""
    damaged = bytearray(frame)
    for _ in range(rng.choice((1, 1, 2, 3))):
        position = rng.randrange(len(damaged)) if damaged else 0
        match rng.randrange(7):
            case 0:
                damaged[position : position + 1] = bytes([rng.randrange(256)])
            case 1 if damaged:
                damaged[position] ^= 1 << rng.randrange(8)
            case 2:
                extreme = rng.choice(EXTREMES)
                damaged[position : position + len(extreme)] = extreme
            case 3:
                del damaged[position:]
            case 4:
                del damaged[position : position + rng.randrange(1, 9)]
            case 5:
                damaged[position:position] = rng.randbytes(rng.randrange(1, 9))
            case _:
                damaged[position:] = other[position:]
    return bytes(damaged)


def ends_the_connection(frame: bytes) -> bool:
    """Whether nothing that follows this frame will be read."""
    view = memoryview(frame)
    try:
        header, position = decode_request_header(view)
        api = BY_KEY.get(header.api_key)
        if api is None or not api.advertised_min_version <= header.api_version <= api.max_version:
            return True
        request, _ = decode(request_class(api.key), header.api_version, view, position)
    except ProtocolError:
        return True
    return getattr(request, "acks", None) == 0  # which a failure ends


def connections(frames: list[bytes], count: int, rng: random.Random) -> Iterator[bytes]:
    """What each connection sends: frames up to one that ends it, `count` in all."""
    while count:
        sent = b""
        for _ in range(min(count, MOST_PER_CONNECTION)):
            frame = mutant(rng.choice(frames), rng.choice(frames), rng)
            sent += len(frame).to_bytes(4, "big") + frame
            count -= 1
            if ends_the_connection(frame):
                break
        yield sent


def throw(address: str, streams: list[bytes]) -> None:
    """Send each stream over a connection of its own, and wait until the broker has hung up on all."""
    host, _, port = address.rpartition(":")
    socks = []
    for stream in streams:
        sock = socket.create_connection((host, int(port)), PATIENCE_S)
        socks.append(sock)
        with contextlib.suppress(ConnectionError):
            sock.sendall(stream)
            sock.shutdown(socket.SHUT_WR)
    for sock in socks:
        with contextlib.suppress(ConnectionError):
            while sock.recv(1 << 16):
                pass
        sock.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the broker's memory from /proc")
@pytest.mark.parametrize("count", [20_000, pytest.param(FRAMES, marks=pytest.mark.slow)], ids=["default", "long"])
def test_malformed_frames(tmp_path: Path, count: int) -> None:
    """Each is answered or closes its connection; the honest client gets every answer, and memory stays flat."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    settings: dict[str, str | int] = {
        "auto_create_topics_enable": "false",
        "minibroker_partitions_max": 100,
        "offsets_topic_num_partitions": 2,
        "group_initial_rebalance_delay_ms": 0,
    }
    with BrokerProcess(tmp_path, **settings) as broker, Wire(broker.address) as honest:
        assert create(honest, "honest") == create(honest, "known") == ErrorCode.NONE
        frames = sample_frames(describe(honest, "known").topic_id)
        streams: list[bytes] = []
        rounds = 0
        flat = 0
        for stream in connections(frames, count, rng):
            streams.append(stream)
            if len(streams) < AT_ONCE:
                continue
            throw(broker.address, streams)
            streams.clear()
            assert produce(honest, "honest", batch(b"%d" % rounds)).base_offset == rounds
            rounds += 1
            create(honest, "known")
            if not flat and rounds == 20:
                flat = broker.resident_bytes
        throw(broker.address, streams)
        assert values(honest, "honest", rounds - 1) == [b"%d" % (rounds - 1)]
        assert broker.resident_bytes < flat + LEEWAY_BYTES
        assert "error of ours" not in broker.log
        assert "Traceback" not in broker.log
        assert broker.process.poll() is None
