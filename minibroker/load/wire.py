"""A blocking connection for what happens before and after the clock runs."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Final, TypeVar, cast

import attrs

from minibroker.load.errors import LoadError
from minibroker.protocol.api import response_class
from minibroker.protocol.codec import decode_message
from minibroker.protocol.errors import ProtocolError
from minibroker.protocol.framing import decode_response_header, encode_request
from minibroker.protocol.schema import Request, Response

CLIENT_ID: Final = "minibroker-load"
PATIENCE_S: Final = 120
"""How long to wait for one answer: Kafka takes a minute to create thousands of partitions."""

LENGTH: Final = struct.Struct(">i")

ResponseT = TypeVar("ResponseT", bound=Response)


def connect(addresses: str) -> socket.socket:
    """Connect to ``HOST:PORT``, or the first of several with commas that answers. Raises LoadError."""
    problem = ""
    for address in addresses.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isdecimal():
            raise LoadError(f"expected an address HOST:PORT, found {address!r}")
        try:
            sock = socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S)
        except OSError as error:
            problem = f"no broker at {address}: {error}"
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Nagle's delay would be part of every figure
        return sock
    raise LoadError(problem)


@attrs.define(eq=False)
class Wire:
    """One request, one answer."""

    address: str
    _socket: socket.socket = attrs.field(init=False)
    _correlation_id: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = connect(self.address)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def ask(self, request: Request[ResponseT], version: int) -> ResponseT:
        """Send a request and wait for its answer. Raises LoadError if there is none."""
        self._correlation_id += 1
        try:
            self._socket.sendall(b"".join(encode_request(self._correlation_id, CLIENT_ID, request, version)))
            frame = memoryview(self._receive(LENGTH.unpack(self._receive(LENGTH.size))[0]))
            _, position = decode_response_header(frame, request.api, version)
            return cast(ResponseT, decode_message(response_class(request.api), version, frame, position))
        except (OSError, ProtocolError) as error:
            raise LoadError(f"{request.api.camel_name} to {self.address}: {error}") from None

    def _receive(self, count: int) -> bytearray:
        received = bytearray(count)
        view = memoryview(received)
        while view:
            if not (size := self._socket.recv_into(view)):
                raise ConnectionError("the broker closed the connection")
            view = view[size:]
        return received
