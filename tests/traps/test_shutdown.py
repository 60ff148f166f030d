"""An orderly end answers what was appended, waits for nobody else, and leaves nothing to recover."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.fetch import FetchResponse
from minibroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from minibroker.protocol.messages.metadata import MetadataRequest
from minibroker.protocol.messages.produce import ProduceResponse
from tests.traps.process import BrokerProcess
from tests.traps.talk import batch, create, fetch, fetch_request, produce_request, records_of
from tests.traps.test_groups import describe_group
from tests.traps.wire import Wire, request_frame

TEN_MINUTES_MS = 600_000
PATIENCE_S = 60


def _is_known(wire: Wire, topic: str) -> bool:
    return topic in [found.name for found in wire.ask(MetadataRequest(topics=None), 1).topics]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_appended_is_answered(tmp_path: Path, number: int) -> None:
    """Of four hundred requests in flight as many are answered as have been appended; a restart recovers nothing."""
    with BrokerProcess(tmp_path) as broker, Wire(broker.address) as wire:
        create(wire, "t")
        wire.send_bytes(
            b"".join(request_frame(produce_request("t", batch(b"x" * 2000)), 9, index) for index in range(400))
        )
        assert wire.receive(ProduceResponse, 9)[0] == 0
        broker.signal(number)
        answered = 1
        try:
            while True:
                correlation_id, response = wire.receive(ProduceResponse, 9)
                assert correlation_id == answered
                assert response.responses[0].partition_responses[0].error_code == ErrorCode.NONE
                answered += 1
        except (EOFError, ConnectionResetError):
            pass
        assert broker.wait() == 0
        assert "WARNING" not in broker.log
    with BrokerProcess(tmp_path) as broker, Wire(broker.address) as wire:
        assert "recovered" not in broker.line
        data = fetch(wire, fetch_request("t", 0, max_bytes=1 << 24, partition_max_bytes=1 << 24))
        assert len(records_of(data)) == answered


def test_long_polls_and_joins_do_not_delay_it(tmp_path: Path) -> None:
    """Nor do half requests. Polls are answered, and what is queued behind them; joins are sent to who will be back."""
    with BrokerProcess(tmp_path, group_initial_rebalance_delay_ms=TEN_MINUTES_MS) as broker:
        with Wire(broker.address) as poll, Wire(broker.address) as join, Wire(broker.address) as half:
            create(poll, "t")
            poll.send(fetch_request("t", 0, min_bytes=1, max_wait_ms=TEN_MINUTES_MS), 11)
            poll.send(produce_request("other", batch(b"x")), 9)
            join.send(
                JoinGroupRequest(
                    group_id="g",
                    session_timeout_ms=10_000,
                    rebalance_timeout_ms=TEN_MINUTES_MS,
                    protocol_type="consumer",
                    protocols=[JoinGroupRequestProtocol(name="range", metadata=b"")],
                ),
                2,
            )
            half.send_bytes((1 << 20).to_bytes(4, "big") + bytes(1000))
            with Wire(broker.address) as other:
                until = time.monotonic() + PATIENCE_S
                while not (_is_known(other, "other") and describe_group(other, "g", 5).members):
                    assert time.monotonic() < until, "what was sent was never taken"
            broker.signal(signal.SIGTERM)
            assert broker.wait() == 0
            assert records_of(poll.receive(FetchResponse, 11)[1].responses[0].partitions[0]) == []
            assert poll.receive(ProduceResponse, 9)[1].responses[0].partition_responses[0].error_code == ErrorCode.NONE
            assert poll.is_closed()
            assert join.receive(JoinGroupResponse, 2)[1].error_code == ErrorCode.NOT_COORDINATOR
            assert join.is_closed()
            assert half.is_closed()
        assert "WARNING" not in broker.log


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Though a peer that reads nothing is still being waited for; the status tells of the signal."""
    with BrokerProcess(tmp_path, minibroker_shutdown_timeout_ms=TEN_MINUTES_MS) as broker:
        host, _, port = broker.address.rpartition(":")
        with Wire(broker.address, receive_buffer=4096) as slow, Wire(broker.address) as wire:
            for number in range(6):
                create(wire, f"t-{number}", partitions=50)
            slow.sock.setblocking(False)
            asked = b""
            refused = 0
            while refused < 20:  # until the broker reads no more of it, for it holds answers that nobody takes
                asked = asked or request_frame(MetadataRequest(topics=None), 12) * 1000
                try:
                    asked = asked[slow.sock.send(asked) :]
                    refused = 0
                except BlockingIOError:
                    refused += 1
                wire.ask(MetadataRequest(topics=None), 12)
            broker.signal(signal.SIGTERM)
            assert wire.is_closed()
            assert broker.process.poll() is None
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((host, int(port)))
            broker.signal(signal.SIGTERM)
            assert broker.wait() == 128 + signal.SIGTERM
