"""Malformed frames, made from valid ones of every API and version, against a live broker beside an honest client.

Some are broken in their structure, which ends the connection; most keep it and ask for what makes no sense, so that a
connection brings several, and ten millions take half an hour: `python -m tests.soak frames`.
"""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
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

AT_ONCE = 40
"""Connections that are open together."""
MOST_PER_CONNECTION = 30
BROKEN_SHARE = 0.2
"""How many frames are broken in their structure."""
UNIT = 50_000
"""Frames of one unit of the long run."""
FLAT_AFTER = 20
"""Rounds after which memory has to stay where it is."""
LEEWAY_BYTES = 48 << 20
"""What memory may grow by: groups and producers that a mutant made up are remembered, as they should be."""
SETTINGS: dict[str, str | int] = {
    "auto_create_topics_enable": "false",
    "minibroker_partitions_max": 100,
    "offsets_topic_num_partitions": 2,
    "group_initial_rebalance_delay_ms": 0,
}
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


@attrs.frozen
class Frame:
    """A valid request without its length."""

    data: bytes
    soft: tuple[int, ...]
    """Where a byte of the body may be anything, and the request can still be read."""


def sample_frames(topic_id: UUID) -> list[Frame]:
    """Requests of every API and version."""
    samples = Samples("known", topic_id)
    frames = [request_frame(request, version)[4:] for key, version in CASES for request in samples.of(key, version)]
    return [Frame(frame, tuple(_soft_positions(frame))) for frame in frames]


def _soft_positions(frame: bytes) -> Iterator[int]:
    _, body = decode_request_header(memoryview(frame))
    for position in range(body, len(frame)):
        for change in (0x01, 0x7F, 0xFF):
            damaged = bytearray(frame)
            damaged[position] ^= change
            if ends_the_connection(bytes(damaged)):
                break
        else:
            yield position


def absurd(frame: Frame, rng: random.Random) -> bytes:
    """The frame with one to three values in it that make no sense."""
    damaged = bytearray(frame.data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        damaged[rng.choice(frame.soft)] = rng.choice((rng.randrange(256), 0x7F, 0xFF))
    return bytes(damaged)


def broken(frame: bytes, other: bytes, rng: random.Random) -> bytes:
    """The frame with one to three things wrong with its structure."""
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


def mutant(frames: list[Frame], rng: random.Random) -> bytes:
    """A malformed frame."""
    frame = rng.choice(frames)
    if not frame.soft or rng.random() < BROKEN_SHARE:
        return broken(frame.data, rng.choice(frames).data, rng)
    return absurd(frame, rng)


def stream(frames: list[Frame], most: int, rng: random.Random) -> list[bytes]:
    """What a connection sends: frames with their lengths, `most` at most, up to one that ends it."""
    sent = []
    for _ in range(min(most, MOST_PER_CONNECTION)):
        frame = mutant(frames, rng)
        sent.append(len(frame).to_bytes(4, "big") + frame)
        if ends_the_connection(frame):
            break
    return sent


def throw(address: str, streams: list[list[bytes]]) -> None:
    """Send each stream over a connection of its own, and wait until the broker has hung up on all."""
    host, _, port = address.rpartition(":")
    socks = []
    for sent in streams:
        sock = socket.socket()
        socks.append(sock)
        sock.settimeout(PATIENCE_S)
        sock.connect((host, int(port)))
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"".join(sent))
            sock.shutdown(socket.SHUT_WR)
    for sock in socks:
        with contextlib.suppress(ConnectionError):
            while sock.recv(1 << 16):
                pass
        sock.close()


def throw_frames(directory: Path, count: int, seed: int, deadline: Callable[[], bool] = lambda: False) -> int:
    """Throw so many frames at a broker, beside an honest client that gets every answer; returns how many it were."""
    rng = random.Random(seed)
    with BrokerProcess(directory, log_level="error", **SETTINGS) as broker, Wire(broker.address) as honest:
        assert create(honest, "honest") == create(honest, "known") == ErrorCode.NONE
        frames = sample_frames(describe(honest, "known").topic_id)
        thrown = rounds = flat = 0
        while thrown < count and not (rounds and deadline()):
            streams: list[list[bytes]] = []
            while thrown < count and len(streams) < AT_ONCE:
                streams.append(stream(frames, count - thrown, rng))
                thrown += len(streams[-1])
            throw(broker.address, streams)
            assert produce(honest, "honest", batch(b"%d" % rounds)).base_offset == rounds
            rounds += 1
            create(honest, "known")  # which a mutant may have deleted
            if rounds == FLAT_AFTER:
                flat = broker.resident_bytes
        assert values(honest, "honest", rounds - 1) == [b"%d" % (rounds - 1)]
        assert not flat or broker.resident_bytes < flat + LEEWAY_BYTES
        assert broker.log == ""
        assert broker.process.poll() is None
    return thrown


@pytest.mark.skipif(sys.platform != "linux", reason="reads the broker's memory from /proc")
def test_malformed_frames(tmp_path: Path) -> None:
    """Each is answered or closes its connection; the honest client gets every answer, and memory stays flat."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    throw_frames(tmp_path, 20_000, seed)


def soak(seed: int, deadline: Callable[[], bool]) -> int:
    """Fifty thousand frames for a broker of their own."""
    with tempfile.TemporaryDirectory(prefix="minibroker-") as name:
        return throw_frames(Path(name), UNIT, seed, deadline)


LONGEST = ("x" * 32_767, "\0" * 32_767)


def lengthened(message: Any, text: str) -> Any:
    """The message with every string that it has replaced by `text`."""
    if isinstance(message, str):
        return text if message else ""
    if isinstance(message, list):
        return [lengthened(item, text) for item in message]
    if attrs.has(type(message)):
        values = attrs.asdict(message, recurse=False)
        return type(message)(**{name: lengthened(value, text) for name, value in values.items()})
    return message


def test_the_longest_strings(tmp_path: Path) -> None:
    """In every field of every API and version, client ids too: an answer that quotes them can be encoded."""
    with BrokerProcess(tmp_path, log_level="error", **SETTINGS) as broker, Wire(broker.address) as honest:
        assert create(honest, "known") == ErrorCode.NONE
        samples = Samples("known", describe(honest, "known").topic_id)
        for key, version in CASES:
            for request in samples.of(key, version):
                for text in LONGEST:
                    with Wire(broker.address) as wire:
                        wire.send_bytes(request_frame(lengthened(request, text), version, client_id=text))
                        wire.sock.shutdown(socket.SHUT_WR)
                        wire.sock.recv(1)
        assert broker.log == ""
