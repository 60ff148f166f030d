"""A thousand clients at once, fifty of them producing and consuming, one sending garbage: nobody else notices."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.fetch import FetchResponse
from minibroker.protocol.messages.metadata import MetadataRequest, MetadataResponse
from minibroker.protocol.messages.produce import ProduceResponse
from tests.traps.process import BrokerProcess
from tests.traps.talk import batch, create, fetch_request, produce_request, records_of
from tests.traps.wire import PATIENCE_S, Wire

CLIENTS = 1000
PAIRS = 25
ROUNDS = 20


def send_garbage(address: str, enough: threading.Event) -> None:
    """Connect, send noise, be thrown out, and come back."""
    host, _, port = address.rpartition(":")
    rng = random.Random(1)
    while not enough.is_set():
        with contextlib.suppress(ConnectionError), socket.create_connection((host, int(port)), PATIENCE_S) as sock:
            sock.sendall(rng.randbytes(4096))
            sock.shutdown(socket.SHUT_WR)  # or it would be waited for where the noise claims more
            while sock.recv(4096):
                pass


def test_a_thousand_clients(tmp_path: Path) -> None:
    """Every request of the 999 is answered; every record reaches the consumer that waits for it."""
    enough = threading.Event()
    with BrokerProcess(tmp_path) as broker, ExitStack() as stack:
        vandal = threading.Thread(target=send_garbage, args=(broker.address, enough))
        vandal.start()
        stack.callback(vandal.join)
        stack.callback(enough.set)
        wires = [stack.enter_context(Wire(broker.address)) for _ in range(CLIENTS - 1)]
        producers, consumers, others = wires[:PAIRS], wires[PAIRS : 2 * PAIRS], wires[2 * PAIRS :]
        for number, wire in enumerate(producers):
            assert create(wire, f"t-{number}") == ErrorCode.NONE
        for turn in range(ROUNDS):
            for number, wire in enumerate(consumers):
                wire.send(fetch_request(f"t-{number}", turn, min_bytes=1, max_wait_ms=600_000), 11)
            for wire in others:
                wire.send(MetadataRequest(topics=[]), 1)
            for number, wire in enumerate(producers):
                wire.send(produce_request(f"t-{number}", batch(b"%d/%d" % (number, turn))), 9)
            for wire in producers:
                (answer,) = wire.receive(ProduceResponse, 9)[1].responses[0].partition_responses
                assert (answer.error_code, answer.base_offset) == (ErrorCode.NONE, turn)
            for number, wire in enumerate(consumers):
                (data,) = wire.receive(FetchResponse, 11)[1].responses[0].partitions
                assert [record.value for record in records_of(data)] == [b"%d/%d" % (number, turn)]
            for wire in others:
                assert wire.receive(MetadataResponse, 1)[1].brokers
        assert "error of ours" not in broker.log
