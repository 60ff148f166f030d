"""The cluster: bootstrap, metadata, leaders, many brokers, reconnection."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from minibroker.client.address import Address
from minibroker.client.backoff import Backoff
from minibroker.client.cluster import Cluster
from minibroker.client.errors import ConnectionFailed, RequestTimeout
from minibroker.client.metadata import TopicPartition
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import CoordinatorNotAvailable, InvalidTopicException
from minibroker.protocol.messages.metadata import MetadataRequest
from tests.client.fake import FakeCluster, disconnect_before
from tests.client.test_connection import settings


async def test_any_bootstrap_address_will_do(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Dead ones are passed over; the rest of the cluster is learnt from the one that answers."""
    fake.addresses = {1: Address("one", 9092), 2: Address("two", 9092)}
    fake.down.add(1)
    fake.add_topic("t", 2, leaders=[1, 2])
    bootstrap = (Address("nowhere", 1), Address("one", 9092), Address("two", 9092))
    async with Cluster(settings(fake, bootstrap=bootstrap)) as cluster:
        cluster.watch(["t"])
        info = await cluster.refresh()
    assert {node: str(broker.address) for node, broker in info.brokers.items()} == {1: "one:9092", 2: "two:9092"}
    assert info.leader(TopicPartition("t", 1)) == 2
    assert info.leader(TopicPartition("t", 5)) == -1


async def test_the_bootstrap_connection_serves_its_broker(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """One connection, not two, when the bootstrap address is the advertised one."""
    async with Cluster(settings(fake)) as cluster:
        await cluster.refresh()
        await cluster.request(MetadataRequest(topics=[]), node_id=1)
    assert len(fake.requests(ApiKey.API_VERSIONS)) == 1


async def test_no_broker_at_all_is_one_error_with_every_address(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Each address with its reason."""
    bootstrap = (Address("nowhere", 1), Address("one", 9092))
    fake.down.add(1)
    async with Cluster(settings(fake, bootstrap=bootstrap)) as cluster:
        with pytest.raises(ConnectionFailed, match=r"nowhere:1: Connection refused; .* one:9092: Connection refused"):
            await cluster.refresh()


async def test_an_unreachable_advertised_address_is_explained(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """The classic stumbling block: bootstrap answers, but what it advertises leads nowhere."""
    fake.addresses = {1: Address("one", 9092), 7: Address("inside-docker", 9092)}
    fake.down.add(7)
    async with Cluster(settings(fake)) as cluster:
        await cluster.refresh()
        with pytest.raises(ConnectionFailed, match=r"inside-docker:9092.*broker 7 advertises.*advertised\.listeners"):
            await cluster.request(MetadataRequest(topics=[]), node_id=7)


async def test_a_broker_that_moved_is_followed(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Its new address comes with the metadata."""
    fake.addresses[2] = Address("two", 9092)
    async with Cluster(settings(fake)) as cluster:
        await cluster.refresh()
        await cluster.request(MetadataRequest(topics=[]), node_id=2)
        fake.stop_node(2)
        fake.down.clear()
        fake.addresses[2] = Address("two-again", 9092)
        await cluster.retrying(cluster.refresh, "refreshing")  # the broken connection may be the one it is tried on
        await cluster.request(MetadataRequest(topics=[]), node_id=2)
        assert cluster.info.brokers[2].address.host == "two-again"


async def test_reconnecting_is_not_a_busy_loop(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Attempts to reach a dead broker are spaced by the reconnect backoff, up to its ceiling."""
    times: list[float] = []

    async def connect(address: Address) -> object:
        times.append(trio.current_time())
        raise ConnectionRefusedError(111, "Connection refused")

    backoff = Backoff(initial_ms=50, maximum_ms=1000, uniform=lambda low, high: 1.0)
    async with Cluster(settings(fake, connect=connect, reconnect_backoff=backoff, retry_backoff=backoff)) as cluster:
        with trio.move_on_after(10):
            while True:
                with pytest.raises(ConnectionFailed):
                    await cluster.any_connection()
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[:5] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8])
    assert pauses[6:] == pytest.approx([1.0] * len(pauses[6:]))


async def test_metadata_is_asked_for_again_when_it_is_old(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """New partitions are seen without any error hinting at them."""
    fake.add_topic("t", 1)
    async with Cluster(settings(fake, metadata_max_age_ms=60_000)) as cluster:
        cluster.watch(["t"])
        await cluster.refresh()
        fake.add_topic("t", 5)
        await trio.sleep(61)
        assert cluster.info.partitions_of(["t"]) == {"t": 5}


async def test_an_older_leader_epoch_is_not_believed(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """A broker that lags behind does not turn the client back to an old leader (KIP-320)."""
    (log,) = fake.add_topic("t")
    log.leader, log.leader_epoch = 2, 5
    async with Cluster(settings(fake)) as cluster:
        cluster.watch(["t"])
        await cluster.refresh()
        log.leader, log.leader_epoch = 1, 4
        assert (await cluster.refresh()).leader(TopicPartition("t", 0)) == 2
        log.leader, log.leader_epoch = 1, 6
        assert (await cluster.refresh()).leader(TopicPartition("t", 0)) == 1


async def test_retrying_gives_up_with_the_last_reason(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Retriable errors are retried with backoff until the time is over; final ones are raised at once."""
    attempts = 0

    async def busy() -> None:
        nonlocal attempts
        attempts += 1
        raise CoordinatorNotAvailable("still loading")

    async def wrong() -> None:
        raise InvalidTopicException("no such name")

    async with Cluster(settings(fake, api_timeout_ms=10_000)) as cluster:
        with pytest.raises(RequestTimeout, match=r"joining was not done within 10000 ms: .*still loading"):
            await cluster.retrying(busy, "joining")
        with pytest.raises(InvalidTopicException):
            await cluster.retrying(wrong, "joining")
    assert 10 < attempts < 30


async def test_a_lost_connection_is_retried(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """One broken connection is no reason for an error."""
    fake.fault(ApiKey.METADATA, disconnect_before, disconnect_before)
    async with Cluster(settings(fake)) as cluster:
        response = await cluster.retrying(lambda: cluster.request(MetadataRequest(topics=[])), "asking")
    assert response.cluster_id == "fake"
