"""Frames come out of an inbox as they went in, however the bytes were cut, and without trusting any claim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibroker.protocol.errors import ProtocolError
from minibroker.server.inbox import GROWTH_FACTOR, SCRATCH_BYTES, Inbox

MAX_FRAME_BYTES = 1 << 22


def make_inbox(scratch_bytes: int = 64) -> Inbox:
    return Inbox(memoryview(bytearray(scratch_bytes)), MAX_FRAME_BYTES)


def feed(inbox: Inbox, stream: bytes, cuts: list[int], *, park: bool) -> list[bytes]:
    """Receive `stream` in pieces of at most the sizes in `cuts`, in turn."""
    frames = []
    position = turn = 0
    while position < len(stream):
        room = inbox.room()
        assert len(room) > 0
        size = min(len(room), cuts[turn % len(cuts)], len(stream) - position)
        room[:size] = stream[position : position + size]
        inbox.received(size)
        position += size
        turn += 1
        while (frame := inbox.next_frame()) is not None:
            frames.append(bytes(frame))
        if park:
            inbox.park()
        else:
            inbox.park() if turn % 2 else None
    return frames


@given(
    frames=st.lists(st.binary(max_size=300), max_size=12),
    cuts=st.lists(st.integers(1, 97), min_size=1, max_size=5),
)
def test_any_cutting_yields_the_same_frames(frames: list[bytes], cuts: list[int]) -> None:
    """The frames do not depend on how the network cut the stream."""
    stream = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
    inbox = make_inbox()
    assert feed(inbox, stream, cuts, park=True) == frames
    assert inbox.unfinished_bytes == 0


def test_parked_bytes_survive_another_connections_receive() -> None:
    """What a connection has parked does not change when others use the scratch buffer."""
    scratch = memoryview(bytearray(64))
    first, second = Inbox(scratch, MAX_FRAME_BYTES), Inbox(scratch, MAX_FRAME_BYTES)
    room = first.room()
    room[:6] = b"\0\0\0\x04ab"
    first.received(6)
    assert first.next_frame() is None
    first.park()
    second.room()[:8] = b"\0\0\0\x04wxyz"
    second.received(8)
    assert bytes(second.next_frame() or b"") == b"wxyz"
    first.room()[:2] = b"cd"
    first.received(2)
    assert bytes(first.next_frame() or b"") == b"abcd"


def test_an_idle_connection_holds_no_memory() -> None:
    """Between requests, once released, nothing is held."""
    inbox = make_inbox()
    feed(inbox, (200).to_bytes(4, "big") + bytes(200), [50], park=True)
    inbox.release()
    assert inbox.held_bytes == 0


def test_a_claimed_length_is_not_allocated() -> None:
    """A peer that claims the largest request makes us hold a small multiple of what it has sent."""
    inbox = Inbox(memoryview(bytearray(SCRATCH_BYTES)), MAX_FRAME_BYTES)
    sent = 0
    for piece in (4, 96, 1000, 5000):
        data = MAX_FRAME_BYTES.to_bytes(4, "big") if sent == 0 else bytes(piece)
        room = inbox.room()
        size = min(len(data), len(room))
        room[:size] = data[:size]
        inbox.received(size)
        sent += size
        assert inbox.next_frame() is None
        inbox.park()
        assert inbox.held_bytes <= max(SCRATCH_BYTES, GROWTH_FACTOR * sent)


@pytest.mark.parametrize("length", [-1, MAX_FRAME_BYTES + 1, -(1 << 31)])
def test_a_length_that_no_request_has_is_refused(length: int) -> None:
    """Negative lengths and those above socket.request.max.bytes are no requests; the message says what was found."""
    inbox = make_inbox()
    inbox.room()[:4] = length.to_bytes(4, "big", signed=True)
    inbox.received(4)
    with pytest.raises(ProtocolError, match=str(length)):
        inbox.next_frame()
