"""A socket's transport: what is sent arrives, with the system's best means and with the portable ones."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibroker.server import transport
from minibroker.server.transport import SocketTransport
from minibroker.storage.filesystem import OsFileSystem


@pytest.fixture
def pair() -> Iterator[tuple[SocketTransport, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    served = SocketTransport.of(accepted, "127.0.0.1")
    with client, accepted:
        yield served, client


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += sock.recv(size - len(data))
    return data


@pytest.mark.parametrize(
    "has_sendfile",
    [pytest.param(True, marks=pytest.mark.skipif(not transport.HAS_SENDFILE, reason="no sendfile")), False],
)
def test_a_part_of_a_file_is_sent(
    pair: tuple[SocketTransport, socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_sendfile: bool
) -> None:
    """The bytes of the range and no others, also where there is no sendfile."""
    monkeypatch.setattr(transport, "HAS_SENDFILE", has_sendfile)
    served, client = pair
    (tmp_path / "f").write_bytes(bytes(range(256)) * 64)
    file = OsFileSystem().open(str(tmp_path / "f"))
    sent = 0
    while sent < 5000:
        sent += served.send_file_nowait(file, 100 + sent, 5000 - sent)
    assert receive(client, 5000) == (bytes(range(256)) * 64)[100:5100]


def test_a_file_that_is_too_short_is_an_error(pair: tuple[SocketTransport, socket.socket], tmp_path: Path) -> None:
    """A response whose length has been told cannot be filled up: the connection has to end."""
    (tmp_path / "f").write_bytes(b"short")
    file = OsFileSystem().open(str(tmp_path / "f"))
    with pytest.raises(OSError, match="ended"):
        pair[0].send_file_nowait(file, 5, 10)


def test_nothing_blocks(pair: tuple[SocketTransport, socket.socket]) -> None:
    """Without bytes a receive says None; a peer that does not read makes a send say 0; its end is a count of 0."""
    served, client = pair
    buffer = memoryview(bytearray(10))
    assert served.receive_nowait(buffer) is None
    while served.send_nowait([bytes(1 << 20)], more=False):
        pass
    client.shutdown(socket.SHUT_WR)
    served.sock.settimeout(10)
    assert served.receive_nowait(buffer) == 0
