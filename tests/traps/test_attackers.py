"""Attackers fail, and an honest client beside them does not notice."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.list_groups import ListGroupsRequest
from minibroker.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from minibroker.protocol.messages.metadata import MetadataRequest, MetadataResponse
from minibroker.records.compression import Codec
from minibroker.testing import BrokerThread
from tests.traps.talk import NOW_MS, batch, create, fetch_request, offset_at, produce, values
from tests.traps.wire import Wire, request_frame

KIB, MIB = 1 << 10, 1 << 20
TLS_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(256)) * 2
NO_REQUESTS = {
    "a frame over socket.request.max.bytes": (MIB + 1).to_bytes(4, "big"),
    "the largest length": b"\x7f\xff\xff\xff",
    "a negative length": b"\xff\xff\xff\xff",
    "an empty frame": b"\0\0\0\0",
    "a header that ends too early": b"\0\0\0\5\0\3\0\1\0",
    "garbage": bytes(range(255, 0, -1)) * 4,
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS hello": TLS_HELLO,
    "an unknown API": b"\0\0\0\x0a\x7f\xff\0\0\0\0\0\1\xff\xff",
    "an API between brokers": b"\0\0\0\x0a\0\4\0\0\0\0\0\1\xff\xff",
    "telemetry": b"\0\0\0\x0a\0\x47\0\0\0\0\0\1\xff\xff",
    "an unknown version": b"\0\0\0\x0a\0\3\0\x63\0\0\0\1\xff\xff",
    "a negative version": b"\0\0\0\x0a\0\3\xff\xff\0\0\0\1\xff\xff",
    "a client id beyond the frame": b"\0\0\0\x0a\0\3\0\1\0\0\0\1\x7f\xff",
    "a client id that is not UTF-8": b"\0\0\0\x0c\0\3\0\1\0\0\0\1\0\2\xff\xfe",
    "a count beyond the frame": b"\0\0\0\x0e\0\3\0\1\0\0\0\1\xff\xff\x7f\xff\xff\xff",
    "an endless varint": b"\0\0\0\x14\0\3\0\x0c\0\0\0\1\xff\xff\0" + b"\xff" * 9,
}


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerThread]:
    settings = {
        "socket.request.max.bytes": MIB,
        "queued.max.requests": 20,
        "queued.max.request.bytes": 4 * MIB,
        "minibroker.batch.decompressed.max.bytes": MIB,
        "minibroker.partitions.max": 300,
    }
    with BrokerThread(settings) as broker:
        yield broker


@pytest.fixture
def honest(broker: BrokerThread, topic: str) -> Iterator[Wire]:
    """Works before the attack and after it, on the same connection."""
    with Wire(broker.address) as wire:
        assert produce(wire, topic, batch(b"before")).error_code == ErrorCode.NONE
        yield wire
        assert produce(wire, topic, batch(b"after")).error_code == ErrorCode.NONE
        assert values(wire, topic) == [b"before", b"after"]


@pytest.mark.usefixtures("honest")
@pytest.mark.parametrize("attack", NO_REQUESTS.values(), ids=list(NO_REQUESTS))
def test_what_is_no_request_closes_the_connection(
    broker: BrokerThread, caplog: pytest.LogCaptureFixture, attack: bytes
) -> None:
    """Without a word to the peer, as on Kafka, and with one line to the operator that says who and why."""
    with Wire(broker.address) as wire:
        wire.send_bytes(attack)
        assert wire.is_closed()
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("minibroker.server")]
    assert line.startswith("closed the connection of 127.0.0.1: ")


@pytest.mark.usefixtures("honest")
def test_requests_before_the_bad_one_are_answered(broker: BrokerThread) -> None:
    """In one segment: the good ones have been done, so their answers come."""
    with Wire(broker.address) as wire:
        wire.send_bytes(request_frame(MetadataRequest(topics=[]), 1) + b"\xff\xff\xff\xff")
        assert wire.receive(MetadataResponse, 1)[1].brokers
        assert wire.is_closed()


def test_ten_thousand_requests_at_once(broker: BrokerThread, honest: Wire) -> None:
    """They are all answered, twenty in flight at a time; an honest client is served meanwhile."""
    with Wire(broker.address) as wire:
        frame = request_frame(MetadataRequest(topics=[]), 1)
        sent = answered = 0
        wire.sock.setblocking(False)
        stream = memoryview(frame * 10_000)
        expected = 0
        while sent < len(stream):
            try:
                sent += wire.sock.send(stream[sent : sent + 64 * KIB])
            except BlockingIOError:
                assert honest.ask(MetadataRequest(topics=[]), 1).brokers
                wire.sock.settimeout(30)
                expected = len(wire.receive_frame())
                answered += 1
                wire.sock.setblocking(False)
        wire.sock.settimeout(30)
        while answered < 10_000:
            expected = expected or len(wire.receive_frame())
            wire.receive_frame() if answered else None
            answered += 1


def test_answers_that_nobody_reads_are_not_kept(broker: BrokerThread, honest: Wire, topic: str) -> None:
    """Five hundred requests for everything: far fewer are made than asked for, and memory stays within its budget."""
    for number in range(8):
        create(honest, f"{topic}-{number}", partitions=20)
    frame = request_frame(MetadataRequest(topics=None), 12)
    peers = [Wire(broker.address, receive_buffer=4 * KIB) for _ in range(10)]
    for peer in peers:
        peer.sock.setblocking(False)
        peer.sock.send(frame * 500)
    for _ in range(20):
        assert honest.ask(MetadataRequest(topics=[]), 1).brokers
    assert broker.broker.running.connections.held_bytes < 3 * 4 * MIB
    for peer in peers:
        peer.reset()
    for number in range(8):
        delete(honest, f"{topic}-{number}")


def delete(wire: Wire, topic: str) -> None:
    from minibroker.protocol.messages.delete_topics import DeleteTopicsRequest

    wire.ask(DeleteTopicsRequest(topic_names=[topic], timeout_ms=1000), 5)


def test_half_requests_fill_no_memory(broker: BrokerThread, honest: Wire) -> None:
    """A hundred peers stop in the middle of the largest request: what we hold is bounded, small requests go on."""
    peers = [Wire(broker.address) for _ in range(100)]
    for peer in peers:
        peer.sock.setblocking(False)
        peer.sock.send(MIB.to_bytes(4, "big") + bytes(500_000))
    for _ in range(20):
        assert honest.ask(MetadataRequest(topics=[]), 1).brokers
        assert broker.broker.running.connections.held_bytes < 3 * 4 * MIB
    for peer in peers:
        peer.reset()


def bomb(codec: Codec) -> bytearray:
    """A batch of some kilobytes that unpacks to 8 MiB, eight times what is allowed."""
    return batch(bytes(8 * MIB), codec=codec)


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.LZ4, Codec.ZSTD, Codec.SNAPPY], ids=lambda codec: codec.name)
def test_bombs_are_not_unpacked(broker: BrokerThread, honest: Wire, topic: str, codec: Codec) -> None:
    """Neither at append to a compacted topic, nor when offsets are asked for by time."""
    create(honest, f"{topic}-compacted", cleanup_policy="compact")
    create(honest, f"{topic}-plain")
    for name, codes in ((f"{topic}-compacted", {87, 2, 10}), (f"{topic}-plain", {0})):
        answer = produce(honest, name, bomb(codec))
        assert answer.error_code in codes or codec is Codec.SNAPPY
    found = offset_at(honest, f"{topic}-plain", 1)
    assert (found.offset, found.error_code) in [(-1, ErrorCode.KAFKA_STORAGE_ERROR), (0, 0), (-1, 2)]


def test_topics_and_partitions_are_limited(honest: Wire, topic: str) -> None:
    """`minibroker.partitions.max`: beyond it neither by CreateTopics nor by asking or producing."""
    assert create(honest, f"{topic}-large", partitions=301) == ErrorCode.INVALID_PARTITIONS
    assert create(honest, f"{topic}-huge", partitions=(1 << 31) - 1) == ErrorCode.INVALID_PARTITIONS


def test_many_offsets_by_time_leave_others_their_turn(broker: BrokerThread, honest: Wire, topic: str) -> None:
    """A peer that has whole batches searched, twenty times in a request, does not stop the others."""
    produce(honest, f"{topic}-2", batch(*[b"x"] * 20_000, codec=Codec.GZIP))
    wanted = [ListOffsetsPartition(partition_index=0, timestamp=NOW_MS + 10_000)] * 20
    request = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsTopic(name=f"{topic}-2", partitions=wanted)])
    with Wire(broker.address) as wire:
        correlation_id = wire.send(request, 7)
        assert honest.ask(MetadataRequest(topics=[]), 1).brokers
        assert wire.is_quiet()
        answered, response = wire.receive(ListOffsetsResponse, 7)
        assert answered == correlation_id
        assert {part.offset for part in response.topics[0].partitions} == {10_000}


def test_a_request_has_no_more_elements_than_there_is_to_ask_for(
    broker: BrokerThread, honest: Wire, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten thousand, and four for each partition that there is; one more closes the connection."""
    create(honest, f"{topic}-100", partitions=100)
    partitions = sum(len(found.partitions) for found in broker.broker.running.services.catalog.topics.values())
    most = 10_000 + 4 * partitions
    with Wire(broker.address) as wire:
        assert wire.ask(ListGroupsRequest(states_filter=["x"] * most), 4).groups == []
        wire.send(ListGroupsRequest(states_filter=["x"] * (most + 1)), 4)
        assert wire.is_closed()
    assert f"{most + 1} elements are more than a message may have" in caplog.text
    delete(honest, f"{topic}-100")


@pytest.mark.parametrize("version", [4, 11])
def test_a_long_poll_does_not_read_a_partition_a_thousand_times(honest: Wire, topic: str, version: int) -> None:
    """Each wake-up would; Kafka takes only one of them, we take none."""
    create(honest, f"{topic}-2")
    request = fetch_request(f"{topic}-2", 0, min_bytes=1 << 30, max_wait_ms=600_000)
    request.topics[0].partitions *= 1000
    response = honest.ask(request, version)
    assert response.responses == []
    assert version < 7 or response.error_code == ErrorCode.INVALID_REQUEST


def test_max_connections_per_ip() -> None:
    """The one too many is closed at once; when another leaves, there is room again."""
    with (
        BrokerThread({"max.connections.per.ip": 2}) as broker,
        Wire(broker.address) as first,
        Wire(broker.address) as second,
    ):
        for wire in (first, second):
            assert wire.ask(MetadataRequest(topics=[]), 1).brokers
        with Wire(broker.address) as third:
            assert third.is_closed()
        assert first.ask(MetadataRequest(topics=[]), 1).brokers


def test_max_connections() -> None:
    """Those beyond wait until another leaves, and are served then."""
    with BrokerThread({"max.connections": 1}) as broker, Wire(broker.address) as second:
        first, second = second, Wire(broker.address)
        assert first.ask(MetadataRequest(topics=[]), 1).brokers
        second.send(MetadataRequest(topics=[]), 1)
        assert first.ask(MetadataRequest(topics=[]), 1).brokers
        assert second.is_quiet()
        first.reset()
        assert second.receive(MetadataResponse, 1)[1].brokers
        second.reset()


def test_without_descriptors_the_broker_goes_on(broker: BrokerThread, honest: Wire) -> None:
    """EMFILE in accept: the newcomer is told at once, or answered if a file was just closed; those who are in are served."""
    assert honest.ask(MetadataRequest(topics=[]), 1).brokers  # which imports what it needs
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    newcomer = socket.socket()
    used = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
    taken = []
    try:
        while True:  # the gaps below
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    try:
        newcomer.settimeout(30)
        newcomer.connect((broker.host, broker.port))
        with contextlib.suppress(ConnectionError):
            newcomer.sendall(request_frame(MetadataRequest(topics=[]), 1))
            newcomer.recv(1)
        assert honest.ask(MetadataRequest(topics=[]), 1).brokers
    finally:
        for descriptor in (*taken, used):
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        newcomer.close()
    with Wire(broker.address) as wire:
        assert wire.ask(MetadataRequest(topics=[]), 1).brokers
