"""Frames that are made before the clock runs, and where in them to patch."""

from __future__ import annotations

from typing import Any

from minibroker.load.wire import CLIENT_ID
from minibroker.protocol.framing import encode_request
from minibroker.protocol.schema import Request


def ready_frame(request: Request[Any], version: int) -> bytearray:
    """The whole frame of a request in one piece. Its correlation id is 0: answers come in order."""
    return bytearray().join(encode_request(0, CLIENT_ID, request, version))


def positions_of(part: bytes, frame: bytearray, count: int) -> list[int]:
    """Where ``part``, which occurs ``count`` times, begins in the frame."""
    positions = [frame.index(part)]
    while len(positions) < count:
        positions.append(frame.index(part, positions[-1] + len(part)))
    return positions
