"""The producer: what is delivered, in which order, and what a caller learns of it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from minibroker.client.address import Address
from minibroker.client.errors import ClientClosed, DeliveryTimeout, RequestTimeout
from minibroker.client.producer import Producer
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode, InvalidRecord, MessageTooLarge, UnknownTopicOrPartition
from minibroker.records.compression import Codec
from tests.client.fake import FakeCluster, Fault, disconnect_after, disconnect_before


def producer(fake: FakeCluster, **changes: Any) -> Producer:
    """A producer of the fake cluster."""
    return Producer(fake.bootstrap, connect=fake.connect, **changes)


def refuse(code: ErrorCode, **details: Any) -> Fault:
    """Answer every partition of the request with an error, and store nothing."""

    def fault(request: Any, proceed: Any) -> Any:
        from minibroker.protocol.messages.produce import PartitionProduceResponse, ProduceResponse, TopicProduceResponse

        return ProduceResponse(
            responses=[
                TopicProduceResponse(
                    topic_id=topic.topic_id,
                    name=topic.name,
                    partition_responses=[
                        PartitionProduceResponse(index=data.index, error_code=code, base_offset=-1, **details)
                        for data in topic.partition_data
                    ],
                )
                for topic in request.topic_data
            ]
        )

    return fault


async def test_a_record_arrives_as_it_was_sent(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Key, value, headers, time; null ones too; and the caller learns where it is."""
    (log,) = fake.add_topic("t")
    async with producer(fake) as p:
        delivery = await p.send("t", b"v", key=b"k", headers=[("h", b"1"), ("n", None)], timestamp_ms=1234)
        metadata = await delivery.wait()
        tombstone = await p.send("t", None, key=b"k", timestamp_ms=5)
    assert (metadata.topic, metadata.partition, metadata.offset, metadata.timestamp_ms) == ("t", 0, 0, 1234)
    assert tombstone.result_nowait().offset == 1
    first, second = log.records()
    assert (first.key, first.value, first.headers, first.timestamp_ms) == (b"k", b"v", (("h", b"1"), ("n", None)), 1234)
    assert second.value is None


@pytest.mark.parametrize("codec", list(Codec))
async def test_every_codec(autojump_clock: MockClock, fake: FakeCluster, codec: Codec) -> None:
    """By name, in any case."""
    (log,) = fake.add_topic("t")
    values = [b"%d" % i * 50 for i in range(100)]
    async with producer(fake, compression=codec.name.lower()) as p:
        for value in values:
            await p.send("t", value)
    assert [record.value for record in log.records()] == values
    assert log.batches[0][22] & 7 == codec


async def test_records_share_batches_until_linger_is_over(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """What is sent within `linger_ms` goes together; nothing waits longer."""
    (log,) = fake.add_topic("t")
    async with producer(fake, linger_ms=50) as p:
        await p.send("t", b"0")
        started = trio.current_time()
        await trio.sleep(0.02)
        await p.send("t", b"1")
        await fake.wait_appended()
        assert trio.current_time() - started == pytest.approx(0.05, abs=0.01)
    assert [len(log.batches), len(log.records())] == [1, 2]


async def test_who_waits_need_not_linger(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Awaiting a delivery sends its batch at once."""
    fake.add_topic("t")
    async with producer(fake, linger_ms=10_000) as p:
        started = trio.current_time()
        await (await p.send("t", b"0")).wait()
        assert trio.current_time() - started < 1


async def test_a_full_batch_does_not_linger(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """`batch_bytes` closes it."""
    (log,) = fake.add_topic("t")
    async with producer(fake, linger_ms=10_000, batch_bytes=1000) as p:
        for _ in range(30):
            await p.send("t", b"x" * 100)
        await trio.sleep(1)
        assert 0 < len(log.records()) < 30
    assert len(log.records()) == 30
    assert max(len(batch) for batch in log.batches) <= 1000


async def test_keys_and_explicit_partitions_decide(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """A key always goes to the same partition; an explicit partition wins; one that does not exist is refused."""
    logs = fake.add_topic("t", 7)
    async with producer(fake) as p:
        for _ in range(3):
            await p.send("t", b"v", key=b"foobar")
        await p.send("t", b"v", key=b"foobar", partition=2)
        with pytest.raises(UnknownTopicOrPartition, match="7 partitions, numbered from 0; found 7"):
            await p.send("t", b"v", partition=7)
    keyed = (-790332482 & 0x7FFFFFFF) % 7
    assert [len(log.records()) for log in logs] == [3 * (i == keyed) + (i == 2) for i in range(7)]


async def test_keyless_records_stick_and_move_on(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """A batch goes to one partition, the next to another."""
    logs = fake.add_topic("t", 3)
    async with producer(fake) as p:
        for _ in range(6):
            for _ in range(10):
                await p.send("t", b"v")
            await p.flush()
    assert all(len(batch) > 60 and len(log.records()) % 10 == 0 for log in logs for batch in log.batches)
    assert sum(bool(log.batches) for log in logs) > 1


async def test_order_is_kept_when_a_request_fails(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Five requests in flight, the first is lost with its connection: all arrive once, in order."""
    (log,) = fake.add_topic("t")
    async with producer(fake, batch_bytes=200) as p:
        await (await p.send("t", b"first")).wait()
        fake.fault(ApiKey.PRODUCE, disconnect_before)
        for i in range(40):
            await p.send("t", b"%03d" % i * 20)
    assert [record.value for record in log.records()][1:] == [b"%03d" % i * 20 for i in range(40)]


faults = st.sampled_from(
    [
        None,
        disconnect_before,
        disconnect_after,
        refuse(ErrorCode.NOT_LEADER_OR_FOLLOWER),
        refuse(ErrorCode.NOT_ENOUGH_REPLICAS),
        refuse(ErrorCode.KAFKA_STORAGE_ERROR),
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(faults, max_size=12), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_whatever_fails_each_record_is_stored_once_in_order(
    script: list[Fault | None], per_batch: int, in_flight: int, keep_alive: bool
) -> None:
    """The promise of idempotence, under lost requests, lost responses and errors in any sequence."""

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            fake = FakeCluster(nursery)
            logs = fake.add_topic("t", 2)
            fake.fault(ApiKey.PRODUCE, *script)
            async with producer(fake, batch_bytes=61 + 80 * per_batch, max_in_flight=in_flight) as p:
                deliveries = []
                for i in range(24):
                    deliveries.append(await p.send("t", b"%02d" % i, partition=i % 2))
                    if keep_alive and i == 3:
                        await deliveries[0].wait()
                offsets = [(await delivery.wait()).offset for delivery in deliveries]
            for index, log in enumerate(logs):
                assert [record.value for record in log.records()] == [b"%02d" % i for i in range(index, 24, 2)]
                assert offsets[index::2] == list(range(12))
            nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["ok", "before", "forget", "bad", "large"]), max_size=12))
def test_order_survives_what_idempotence_cannot_repair(script: list[str]) -> None:
    """A broker that forgets the producer, refuses batches for good or finds them too large: the epoch is bumped, and
    what was not refused is stored once and in order. (Without lost responses, since of a batch that the broker stored
    and forgot nobody can know; and one request at a time, since a broker that forgot takes any first sequence.)"""

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            fake = FakeCluster(nursery)
            (log,) = fake.add_topic("t")

            def forget(request: Any, proceed: Any) -> Any:
                log.forget_producers()
                return refuse(ErrorCode.UNKNOWN_PRODUCER_ID)(request, proceed)

            meaning: dict[str, Fault | None] = {
                "ok": None,
                "before": disconnect_before,
                "forget": forget,
                "bad": refuse(ErrorCode.INVALID_RECORD),
                "large": refuse(ErrorCode.MESSAGE_TOO_LARGE),
            }
            fake.fault(ApiKey.PRODUCE, *(meaning[word] for word in script))
            async with producer(fake, batch_bytes=61 + 80 * 2, max_in_flight=1) as p:
                deliveries = [await p.send("t", b"%02d" % i, partition=0) for i in range(20)]
                refused = set()
                for i, delivery in enumerate(deliveries):
                    try:
                        await delivery.wait()
                    except (InvalidRecord, MessageTooLarge):
                        refused.add(i)
            stored = [record.value for record in log.records()]
            assert stored == [b"%02d" % i for i in range(20) if i not in refused]
            nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def test_a_leader_that_moves_is_followed(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Also when the old one is gone; order is kept."""
    fake.addresses[2] = Address("two", 9092)
    (log,) = fake.add_topic("t", 1, leaders=[2])
    async with producer(fake) as p:
        await (await p.send("t", b"0")).wait()
        fake.stop_node(2)
        log.leader, log.leader_epoch = 1, 1
        for i in range(1, 10):
            await p.send("t", b"%d" % i)
    assert [record.value for record in log.records()] == [b"%d" % i for i in range(10)]


async def test_the_broker_names_the_record_it_refuses(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Each handle of the batch raises; the guilty record with its own reason (KIP-467)."""
    from minibroker.protocol.messages.produce import BatchIndexAndErrorMessage

    fake.add_topic("t")
    errors = [BatchIndexAndErrorMessage(batch_index=1, batch_index_error_message="no key")]
    fake.fault(ApiKey.PRODUCE, refuse(ErrorCode.INVALID_RECORD, record_errors=errors, error_message="one is wrong"))
    async with producer(fake) as p:
        deliveries = [await p.send("t", b"v") for _ in range(2)]
        for delivery, reason in zip(deliveries, ("one is wrong", "no key"), strict=True):
            with pytest.raises(InvalidRecord, match=reason):
                await delivery.wait()


async def test_an_error_nobody_awaits_is_raised_by_flush(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """And by the end of the block; but only once, and not if a handle's owner has seen it."""
    fake.add_topic("t")
    async with producer(fake) as p:
        fake.fault(ApiKey.PRODUCE, refuse(ErrorCode.INVALID_RECORD))
        await p.send("t", b"v")
        with pytest.raises(InvalidRecord):
            await p.flush()
        await p.flush()
        fake.fault(ApiKey.PRODUCE, refuse(ErrorCode.INVALID_RECORD))
        seen = await p.send("t", b"v")
        with pytest.raises(InvalidRecord):
            await seen.wait()
    fake.fault(ApiKey.PRODUCE, refuse(ErrorCode.INVALID_RECORD))
    with pytest.raises(InvalidRecord):
        async with producer(fake) as p:
            await p.send("t", b"v")


async def test_the_delivery_timeout_ends_retries(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """With the reason of the last one."""
    fake.add_topic("t")
    fake.fault(ApiKey.PRODUCE, *[refuse(ErrorCode.NOT_ENOUGH_REPLICAS)] * 100)
    async with producer(fake, delivery_timeout_ms=5000) as p:
        started = trio.current_time()
        delivery = await p.send("t", b"v")
        with pytest.raises(DeliveryTimeout, match=r"not delivered to t-0 in 5000 ms: NOT_ENOUGH_REPLICAS"):
            await delivery.wait()
        assert trio.current_time() - started == pytest.approx(5, abs=0.1)


async def test_an_unreachable_leader_is_the_reason(
    autojump_clock: MockClock, fake: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The advertised address that leads nowhere is named in the error, and logged once while there is still time."""
    fake.addresses[7] = Address("inside-docker", 9092)
    fake.down.add(7)
    fake.add_topic("t", leaders=[7])
    async with producer(fake, delivery_timeout_ms=5000) as p:
        delivery = await p.send("t", b"v")
        with pytest.raises(DeliveryTimeout, match=r"inside-docker:9092.*advertised\.listeners"):
            await delivery.wait()
    assert len([line for line in caplog.messages if "inside-docker" in line]) == 1


async def test_a_timed_out_batch_holds_up_nothing(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Its fate is unknown, yet what is sent later is stored, once and in order."""
    (log,) = fake.add_topic("t")

    async def slow(request: Any, proceed: Any) -> Any:
        await trio.sleep(8)
        return proceed()

    async with producer(fake, delivery_timeout_ms=5000, request_timeout_ms=10_000) as p:
        await (await p.send("t", b"first")).wait()
        fake.fault(ApiKey.PRODUCE, slow)
        late = await p.send("t", b"late")
        with pytest.raises(DeliveryTimeout):
            await late.wait()
        await (await p.send("t", b"next")).wait()
    assert [record.value for record in log.records()] == [b"first", b"late", b"next"]


async def test_send_waits_for_buffer_memory(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """The buffer never holds more than its bound and one record; waiting ends with `max_block_ms`."""
    fake.add_topic("t")

    async def never(request: Any, proceed: Any) -> Any:
        await trio.sleep(20)
        return proceed()

    fake.fault(ApiKey.PRODUCE, never)
    async with producer(fake, buffer_bytes=2000, max_block_ms=3000, max_in_flight=1) as p:
        for _ in range(19):
            await p.send("t", b"x" * 100)
        with pytest.raises(trio.WouldBlock):
            p.send_nowait("t", b"x")
        with pytest.raises(RequestTimeout, match="buffer of 2000 bytes is still full"):
            await p.send("t", b"x")
        await p.flush()
        await p.send("t", b"x" * 100)


async def test_a_cancelled_send_has_buffered_nothing(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """So it can be repeated."""
    async with producer(fake) as p:
        with trio.move_on_after(1) as scope:
            await p.send("later", b"v")
        assert scope.cancelled_caught
        (log,) = fake.add_topic("later")
        await p.send("later", b"v")
    assert len(log.records()) == 1


async def test_an_unknown_topic_is_waited_for_and_then_named(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """It may be on its way; a name that is illegal is not waited for."""
    async with producer(fake, max_block_ms=2000) as p:
        with pytest.raises(RequestTimeout, match=r"'nosuch' is not known after 2000 ms: UNKNOWN_TOPIC_OR_PARTITION"):
            await p.send("nosuch", b"v")
    fake.auto_create = 2
    async with producer(fake) as p:
        await p.send("new", b"v")
        assert await p.partitions("new") == 2


async def test_acks_zero_does_not_wait_for_anybody(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """There is no response, so there is no offset; nor is it idempotent."""
    (log,) = fake.add_topic("t")
    async with producer(fake, acks=0) as p:
        metadata = await (await p.send("t", b"v")).wait()
        for _ in range(100):
            await p.send("t", b"v")
    assert metadata.offset == -1
    while len(log.records()) < 101:
        await fake.wait_appended()
    assert not fake.requests(ApiKey.INIT_PRODUCER_ID)


async def test_without_idempotence_order_is_kept_too(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """acks=1: one request per partition at a time, so a retry overtakes nothing."""
    (log,) = fake.add_topic("t")
    async with producer(fake, acks=1, batch_bytes=200) as p:
        fake.fault(ApiKey.PRODUCE, None, disconnect_before, refuse(ErrorCode.NOT_LEADER_OR_FOLLOWER))
        for i in range(40):
            await p.send("t", b"%03d" % i * 20)
    assert [record.value for record in log.records()] == [b"%03d" % i * 20 for i in range(40)]


async def test_new_partitions_are_used(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Once the metadata tells of them."""
    fake.add_topic("t", 1)
    async with producer(fake) as p:
        await p.send("t", b"v")
        logs = fake.topics["t"]
        logs += fake.add_topic("t", 2)[1:]
        fake.topics["t"] = logs
        with pytest.raises(UnknownTopicOrPartition):
            await p.send("t", b"v", partition=1)
        await trio.sleep(301)
        await p.send("t", b"v", partition=1)
    assert len(logs[1].records()) == 1


async def test_a_topic_made_anew_goes_on(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """The old id is refused, the new one is learnt, nothing is lost."""
    fake.add_topic("t")
    async with producer(fake) as p:
        await (await p.send("t", b"old")).wait()
        (log,) = fake.add_topic("t")
        await p.send("t", b"new")
    assert [record.value for record in log.records()] == [b"new"]


async def test_a_closed_producer_says_so(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Before and after its block."""
    fake.add_topic("t")
    p = producer(fake)
    with pytest.raises(ClientClosed, match="async with"):
        await p.send("t", b"v")
    async with p:
        await p.send("t", b"v")
    with pytest.raises(ClientClosed):
        await p.send("t", b"v")


async def test_a_cancelled_block_abandons_what_is_left(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """The handles know."""
    fake.add_topic("t")
    fake.fault(ApiKey.PRODUCE, *[refuse(ErrorCode.NOT_ENOUGH_REPLICAS)] * 1000)
    with trio.move_on_after(3):
        async with producer(fake) as p:
            delivery = await p.send("t", b"v")
            await trio.sleep_forever()
    with pytest.raises(ClientClosed, match="closed before this was delivered"):
        delivery.result_nowait()


async def test_too_large_a_record_is_refused_at_once(autojump_clock: MockClock, fake: FakeCluster) -> None:
    """Before it is buffered."""
    fake.add_topic("t")
    async with producer(fake, max_request_bytes=1000) as p:
        with pytest.raises(MessageTooLarge, match="max_request_bytes=1000"):
            await p.send("t", b"x" * 1000)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"acks": 2}, "acks of 'all', 1 or 0, found 2"),
        ({"acks": 1, "idempotent": True}, "needs acks='all'"),
        ({"max_in_flight": 6}, "max_in_flight of 1 to 5, found 6"),
        ({"compression": "brotli"}, "found 'brotli'"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], problem: str) -> None:
    """One line that says what was expected and what was found."""
    with pytest.raises(ValueError, match=problem):
        Producer("localhost", **changes)
