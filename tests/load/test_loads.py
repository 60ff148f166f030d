"""The loads against a real broker: they do what they say, and count what is there."""

import threading
from typing import Any

import attrs
import pytest

from minibroker.load import EndToEndSpec, FetchSpec, LoadError, ProduceSpec
from minibroker.load.end_to_end import run_end_to_end
from minibroker.load.fetching import run_fetch
from minibroker.load.measurement import Stopwatch, Tally
from minibroker.load.producing import ProduceConversation, make_batch, run_produce, share_out
from minibroker.load.specs import ACKS_LEADER, Span
from minibroker.load.topics import create_topic, delete_topic, expect_records, record_count, temporary_topic
from minibroker.protocol.codec import decode_message
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.framing import decode_request_header, encode_response
from minibroker.protocol.messages.produce import (
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)
from minibroker.records.batch import iter_batches, verify_crc
from minibroker.records.record import read_records
from minibroker.testing import BrokerThread

SHORT = Span(warm_up_s=0, seconds=60, max_bytes=50_000)


@pytest.fixture
def spec(minibroker: BrokerThread) -> ProduceSpec:
    """A load of some tens of batches for a topic that is there."""
    create_topic(minibroker.address, "t", 3)
    return ProduceSpec(address=minibroker.address, topic="t", partitions=3, batch_bytes=2_000, span=SHORT)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="one connection, several requests in flight"),
        pytest.param({"acks": ACKS_LEADER, "in_flight": 1}, id="acks=1, one at a time"),
        pytest.param({"connections": 5, "in_flight": 2}, id="more connections than partitions"),
        pytest.param({"partitions_per_request": 3}, id="all partitions in each request"),
        pytest.param({"batch_bytes": 1, "record_bytes": 10}, id="single records"),
        pytest.param({"compression": "lz4"}, id="compressed"),
        pytest.param(
            {"batch_bytes": 300_000, "connections": 2, "span": Span(warm_up_s=0, max_bytes=3_000_000)}, id="large"
        ),
        pytest.param({"interval_s": 0.0001}, id="by the clock"),
    ],
)
def test_what_is_counted_is_in_the_log(spec: ProduceSpec, changes: dict[str, Any]) -> None:
    """Every record that a produce load counts can be read, and each batch is whole."""
    spec = attrs.evolve(spec, **changes)
    measured = run_produce(spec)
    _, records = make_batch(spec)
    assert measured.records == measured.requests * records * spec.partitions_per_request
    assert record_count(spec.address, "t", 3) >= measured.records
    fetched = run_fetch(FetchSpec(address=spec.address, topic="t", partitions=3, repeat=False, span=Span(warm_up_s=0)))
    assert fetched.bytes / fetched.records == measured.bytes / measured.records


def test_a_fetch_reads_all_of_it_and_then_starts_over(spec: ProduceSpec) -> None:
    """Without `repeat` every record is read once; with it, the measured part ends by its limit."""
    run_produce(attrs.evolve(spec, span=attrs.evolve(SHORT, max_bytes=200_000)))
    there = record_count(spec.address, "t", 3)
    fetch = FetchSpec(address=spec.address, topic="t", partitions=3, repeat=False, partition_max_bytes=8_000)
    stopwatch_free = attrs.evolve(fetch, span=Span(warm_up_s=0))
    once = run_fetch(stopwatch_free)
    assert 0.8 * there < once.records < there  # the first answer ends the warm-up
    again = run_fetch(attrs.evolve(fetch, repeat=True, span=Span(warm_up_s=0, max_bytes=1_000_000)))
    assert again.bytes >= 1_000_000


def test_each_record_of_a_latency_load_arrives(minibroker: BrokerThread) -> None:
    """The consumer gets every record, one after the other."""
    with temporary_topic(minibroker.address, "latency") as topic:
        span = Span(warm_up_s=0, max_bytes=2_000)
        measured = run_end_to_end(EndToEndSpec(address=minibroker.address, topic=topic, record_bytes=20, span=span))
        assert measured.records == record_count(minibroker.address, topic, 1) - 1
        assert 0 < measured.p50_ms <= measured.p99_ms <= measured.max_ms


def test_a_refusal_ends_the_load(spec: ProduceSpec) -> None:
    """A batch the broker does not take is an error that says why, not a slow broker."""
    create_topic(spec.address, "small", 1, {"max.message.bytes": "100"})
    with pytest.raises(LoadError, match="small-0: MESSAGE_TOO_LARGE"):
        run_produce(attrs.evolve(spec, topic="small", partitions=1))


def test_a_topic_that_is_gone_ends_the_load(spec: ProduceSpec) -> None:
    """There is no figure for a topic without a leader."""
    delete_topic(spec.address, "t")
    with pytest.raises(LoadError, match="UNKNOWN_TOPIC_OR_PARTITION"):
        run_produce(spec)


def test_too_many_records_are_an_error(spec: ProduceSpec) -> None:
    """Somebody else's records would be counted as ours: the log must hold exactly what was acknowledged."""
    run_produce(spec)
    with pytest.raises(LoadError, match="what was acknowledged is not what is there"):
        expect_records(spec.address, "t", 3, record_count(spec.address, "t", 3) - 1)


def test_nobody_listening_is_one_error(spec: ProduceSpec) -> None:
    """The error names the address."""
    with pytest.raises(LoadError, match=r"no broker at 127\.0\.0\.1:1:"):
        run_produce(attrs.evolve(spec, address="127.0.0.1:1"))


def conversation(**changes: Any) -> ProduceConversation:
    """A conversation without a connection."""
    spec = attrs.evolve(ProduceSpec(address="-", topic="t", partitions=4, batch_bytes=500), **changes)
    return ProduceConversation(spec, range(4), *make_batch(spec), Stopwatch(Span()).tally)


def test_frames_go_around_the_partitions_and_stay_whole() -> None:
    """Patching changes where a batch goes, and nothing else: each frame decodes, each batch has its CRC."""
    talk = conversation(partitions_per_request=3)
    seen = []
    for _ in range(4):
        frame = bytes(talk.next_request())[4:]
        header, position = decode_request_header(memoryview(frame))
        request = decode_message(ProduceRequest, header.api_version, memoryview(frame), position)
        for partition in request.topic_data[0].partition_data:
            seen.append(partition.index)
            ((batch_header, batch),) = iter_batches(partition.records)
            verify_crc(batch)
            assert len(read_records(batch, max_bytes=10_000)) == batch_header.record_count == talk.records
    assert seen == [0, 1, 2, 3] * 3


@pytest.mark.parametrize("code", [ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.UNKNOWN_SERVER_ERROR])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_every_error_code_in_an_answer_is_seen(code: ErrorCode, at: int) -> None:
    """An answer is not decoded, only looked at: an error in any partition is found all the same."""
    talk = conversation(partitions_per_request=3)
    partitions = [PartitionProduceResponse(index=index, base_offset=-1) for index in range(3)]
    response = ProduceResponse(responses=[TopicProduceResponse(name="t", partition_responses=partitions)])
    talk.on_response(answer_of(response))
    assert talk.tally == Tally(1, 3 * talk.records, 3 * len(talk.batch))
    partitions[at].error_code = code
    with pytest.raises(LoadError, match=f"t-{at}: {code.name}"):
        talk.on_response(answer_of(response))


def answer_of(response: ProduceResponse) -> memoryview:
    """As a lane hands it over: without its length."""
    return memoryview(b"".join(bytes(part) for part in encode_response(0, response.api, 7, response))[4:])


def test_partitions_are_dealt_out_evenly(minibroker: BrokerThread) -> None:
    """Each connection has its own partitions; with more connections than partitions, they share."""
    create_topic(minibroker.address, "t", 5)
    assert [list(own) for _, own in share_out(minibroker.address, "t", 5, 2)] == [[0, 2, 4], [1, 3]]
    assert [list(own) for _, own in share_out(minibroker.address, "t", 2, 3)] == [[0], [1], [0]]


def test_loads_side_by_side_do_not_disturb_each_other(minibroker: BrokerThread) -> None:
    """Two loads on topics of their own both find exactly their records."""
    failures: list[LoadError] = []

    def load(topic: str) -> None:
        try:
            with temporary_topic(minibroker.address, topic):
                run_produce(ProduceSpec(address=minibroker.address, topic=topic, span=SHORT))
        except LoadError as error:
            failures.append(error)

    threads = [threading.Thread(target=load, args=(f"t{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
