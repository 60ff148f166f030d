"""A client that speaks the raw protocol: any request at any version, or any bytes, over a plain socket."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType
from typing import Any, TypeVar

from minibroker.protocol.api import response_class
from minibroker.protocol.codec import decode_message
from minibroker.protocol.framing import decode_response_header, encode_request
from minibroker.protocol.schema import Request, Response

ResponseT = TypeVar("ResponseT", bound=Response)

PATIENCE_S = 30.0
"""When a test that waits in vain fails."""


def request_frame(request: Request[Any], version: int, correlation_id: int = 1, client_id: str | None = "raw") -> bytes:
    """The bytes of a request, length included."""
    return b"".join(encode_request(correlation_id, client_id, request, version))


class Wire:
    """One connection. Answers are read in the order in which they come."""

    def __init__(self, address: str, *, receive_buffer: int | None = None) -> None:
        host, _, port = address.rpartition(":")
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect((host, int(port)))
        self._correlation_id = 0

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, request: Request[Any], version: int) -> int:
        """Send a request and return its correlation id."""
        self._correlation_id += 1
        self.send_bytes(request_frame(request, version, self._correlation_id))
        return self._correlation_id

    def send_bytes(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive_frame(self) -> memoryview:
        """The next answer without its length. Raises EOFError if the broker hangs up instead."""
        length = int.from_bytes(self._receive(4), "big")
        return memoryview(self._receive(length))

    def receive(self, cls: type[ResponseT], version: int) -> tuple[int, ResponseT]:
        """The correlation id of the next answer, and the answer."""
        frame = self.receive_frame()
        correlation_id, position = decode_response_header(frame, cls.api, version)
        return correlation_id, decode_message(cls, version, frame[position:])

    def ask(self, request: Request[ResponseT], version: int) -> ResponseT:
        """Send a request and return its answer."""
        correlation_id = self.send(request, version)
        answered, response = self.receive(response_class(request.api), version)
        assert answered == correlation_id
        return response

    def is_closed(self) -> bool:
        """Wait for what comes next: True if the broker hangs up, False if it says something."""
        try:
            return self.sock.recv(1, socket.MSG_PEEK) == b""
        except ConnectionError:
            return True

    def is_quiet(self) -> bool:
        """Whether nothing has come, now."""
        self.sock.setblocking(False)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self.sock.settimeout(PATIENCE_S)
        return False

    def reset(self) -> None:
        """Hang up with a reset instead of an orderly end."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def _receive(self, size: int) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self.sock.recv_into(view)
            if count == 0:
                raise EOFError("the broker hung up")
            view = view[count:]
        return data  # type: ignore[return-value]  # as good as bytes here
