"""Connections: order, versions, timeouts, and what happens when they break."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from minibroker.client.address import Address
from minibroker.client.cluster import Cluster
from minibroker.client.errors import ConnectionFailed, ConnectionLost, NotSupportedByBroker, RequestTimeout
from minibroker.client.settings import ClusterSettings
from minibroker.protocol.api import ApiKey
from minibroker.protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from minibroker.protocol.messages.metadata import MetadataRequest
from tests.client.fake import Disconnect, FakeCluster, StreamTransport, disconnect_before


def settings(fake: FakeCluster, **changes: Any) -> ClusterSettings:
    """Settings that lead to the fake cluster."""
    values = {"bootstrap": (fake.addresses[1],), "connect": fake.connect, **changes}
    return ClusterSettings(**values)


async def test_responses_reach_those_who_asked(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Many requests at once on one connection: each task gets the answer to its own."""
    answers: dict[int, int] = {}

    def handle(node_id: int, request: Any, version: int) -> InitProducerIdResponse:
        return InitProducerIdResponse(producer_id=request.transaction_timeout_ms)

    fake.handlers[ApiKey.INIT_PRODUCER_ID] = handle

    async def ask(cluster: Cluster, number: int) -> None:
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=number)
        answers[number] = (await cluster.request(request)).producer_id

    async with Cluster(settings(fake)) as cluster, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, cluster, number)
    assert answers == {number: number for number in range(50)}


async def test_a_cancelled_request_leaves_the_connection_usable(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Its late response is dropped, and the next one is not taken for it."""

    async def late(request: Any, proceed: Any) -> Any:
        await trio.sleep(5)
        return proceed()

    async with Cluster(settings(fake)) as cluster:
        connection = await cluster.any_connection()
        fake.fault(ApiKey.METADATA, late)
        with trio.move_on_after(1):
            await connection.request(MetadataRequest(topics=[]))
        response = await connection.request(InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1))
        assert isinstance(response, InitProducerIdResponse)
        assert await cluster.any_connection() is connection


async def test_a_request_times_out_and_takes_its_connection_along(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """What is behind it in the queue cannot be answered either."""

    async def never(request: Any, proceed: Any) -> Any:
        await trio.sleep_forever()

    fake.fault(ApiKey.METADATA, never)
    async with Cluster(settings(fake)) as cluster:
        connection = await cluster.any_connection()
        started = trio.current_time()
        with pytest.raises(RequestTimeout, match="did not answer Metadata in time"):
            await connection.request(MetadataRequest(topics=[]), timeout_s=7)
        assert trio.current_time() - started == pytest.approx(7, abs=0.1)
        assert connection.error is not None
        assert await cluster.any_connection() is not connection


async def test_an_answer_in_the_last_moment_counts(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """It was there when its time ended: who asked gets it, and so does who asks next."""
    is_late = False

    class Late(StreamTransport):
        async def receive_into(self, view: memoryview) -> int:
            received = await super().receive_into(view)
            if is_late:
                autojump_clock.jump(7)
                await trio.lowlevel.cancel_shielded_checkpoint()
            return received

    async def connect(address: Address) -> StreamTransport:
        return Late((await fake.connect(address))._stream)

    async with Cluster(settings(fake, connect=connect)) as cluster:
        connection = await cluster.any_connection()
        for _ in range(20):  # whoever Trio lets run first
            is_late = True
            assert (await connection.request(MetadataRequest(topics=[]), timeout_s=7)).cluster_id == "fake"
            is_late = False
            assert (await connection.request(MetadataRequest(topics=[]), timeout_s=7)).cluster_id == "fake"


async def test_a_broken_connection_fails_what_is_under_way(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """The error says that the broker closed, and the next request gets a new connection."""
    fake.fault(ApiKey.METADATA, disconnect_before)
    async with Cluster(settings(fake)) as cluster:
        with pytest.raises(ConnectionLost, match="one:9092 closed the connection"):
            await cluster.request(MetadataRequest(topics=[]))
        assert (await cluster.request(MetadataRequest(topics=[]))).cluster_id == "fake"


async def test_the_highest_common_version_is_spoken(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Per request; and none at all is an error that names both sides' versions."""
    fake.versions[ApiKey.METADATA] = (0, 7)
    fake.versions[ApiKey.INIT_PRODUCER_ID] = (9, 10)
    async with Cluster(settings(fake)) as cluster:
        await cluster.request(MetadataRequest(topics=[]))
        assert fake.seen[-1][1:3] == (ApiKey.METADATA, 7)
        with pytest.raises(NotSupportedByBroker, match="InitProducerId in versions 9 to 10; needed is one of 0 to 5"):
            await cluster.request(InitProducerIdRequest(transactional_id=None))


async def test_an_older_broker_is_asked_again_for_its_versions(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """A refusal in the layout of version 0 is understood, and the version it names used (KIP-511)."""
    fake.versions[ApiKey.API_VERSIONS] = (0, 2)
    async with Cluster(settings(fake)) as cluster:
        await cluster.any_connection()
    assert [(key, version) for _, key, version, _ in fake.seen] == [(ApiKey.API_VERSIONS, 2)]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak Kafka's protocol: a response of 1213486160 bytes"),
        (b"\0\0\0\x04\0\0\0\x63", "does not speak Kafka's protocol: response 99 to request 1"),
        (b"\0\0\0\x05\0\0\0\x01\x07", "does not speak Kafka's protocol"),
        (b"", "closed the connection"),
    ],
)
async def test_what_is_no_kafka_is_explained(
    autojump_clock: MockClock, fake: FakeCluster, nursery: trio.Nursery, reply: bytes, reason: str
) -> None:
    """Another protocol at the other end is an error of that address, not a crash."""

    async def connect(address: Address) -> StreamTransport:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(serve, ours)
        return StreamTransport(theirs)

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some(1000)
        await stream.send_all(reply)
        await stream.aclose()

    async with Cluster(settings(fake, connect=connect)) as cluster:
        with pytest.raises(ConnectionFailed, match=reason):
            await cluster.any_connection()


async def test_large_responses_arrive_whole(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Frames larger than the receive buffer, before and behind small ones."""
    big = {f"topic-{number:05}": 3 for number in range(2000)}
    for name, partitions in big.items():
        fake.add_topic(name, partitions)
    async with Cluster(settings(fake)) as cluster:
        sizes: list[int] = []

        async def ask(topics: Any) -> None:
            sizes.append(len((await cluster.request(MetadataRequest(topics=topics))).topics))

        async with trio.open_nursery() as nursery:
            for topics in ([], None, [], None, []):
                nursery.start_soon(partial(ask, topics))
    assert sorted(sizes) == [0, 0, 0, 2000, 2000]


async def test_unasked_for_bytes_end_the_connection(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """A broker that answers twice has lost count, so nothing it says can be trusted."""

    async def twice(request: Any, proceed: Any) -> Any:
        raise Disconnect

    fake.fault(ApiKey.METADATA, twice)
    async with Cluster(settings(fake)) as cluster:
        connection = await cluster.any_connection()
        with pytest.raises(ConnectionLost):
            await connection.request(MetadataRequest(topics=[]))
        with pytest.raises(ConnectionLost):
            await connection.request(MetadataRequest(topics=[]))
