"""DeleteTopics: by name and by id, named twice, forbidden, and what becomes of a namesake."""

from uuid import UUID

import pytest

from minibroker.config.settings import BrokerSettings
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from minibroker.protocol.messages.delete_topics import DeletableTopicResult, DeleteTopicsRequest, DeleteTopicState
from tests.handlers.harness import HandlerBench, open_bench
from tests.simulation.disk import only_synced

NO_ID = UUID(int=0)


async def delete(bench: HandlerBench, *wanted: str | UUID | tuple[str | None, UUID]) -> list[DeletableTopicResult]:
    states = []
    for one in wanted:
        name, topic_id = one if isinstance(one, tuple) else (one, NO_ID) if isinstance(one, str) else (None, one)
        states.append(DeleteTopicState(name=name, topic_id=topic_id))
    return (await bench.ask(DeleteTopicsRequest(topics=states), 6)).responses


@pytest.mark.parametrize("version", range(1, 6))
async def test_by_name_in_old_versions(bench: HandlerBench, version: int) -> None:
    """A topic that exists goes; one that does not is UNKNOWN_TOPIC_OR_PARTITION."""
    await bench.create("t")
    request = DeleteTopicsRequest(topic_names=["t", "nope"])
    results = (await bench.ask(request, version)).responses
    assert [(result.name, result.error_code) for result in results] == [
        ("t", 0),
        ("nope", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ]
    assert "t" not in bench.services.catalog.topics


async def test_by_name_or_by_id(bench: HandlerBench) -> None:
    """v6 takes either and answers both."""
    await bench.create("a")
    await bench.create("b")
    ids = {name: bench.services.catalog.topics[name].id for name in "ab"}
    results = await delete(bench, "a", ids["b"])
    assert [(result.name, result.topic_id, result.error_code) for result in results] == [
        ("a", ids["a"], 0),
        ("b", ids["b"], 0),
    ]
    [again] = await delete(bench, ids["b"])
    assert (again.name, again.topic_id, again.error_code) == (None, ids["b"], ErrorCode.UNKNOWN_TOPIC_ID)


async def test_neither_or_both_of_name_and_id(bench: HandlerBench) -> None:
    """INVALID_REQUEST, and the topic stays."""
    await bench.create("t")
    topic_id = bench.services.catalog.topics["t"].id
    for wanted in (("t", topic_id), (None, NO_ID)):
        [result] = await delete(bench, wanted)
        assert result.error_code == ErrorCode.INVALID_REQUEST
    assert "t" in bench.services.catalog.topics


@pytest.mark.parametrize("second", ["name", "id"])
async def test_a_topic_that_is_named_twice_stays(bench: HandlerBench, second: str) -> None:
    """INVALID_REQUEST, also if it is named once by name and once by id; others go."""
    await bench.create("twice")
    await bench.create("once")
    topic_id = bench.services.catalog.topics["twice"].id
    results = await delete(bench, "twice", "once", "twice" if second == "name" else topic_id)
    assert {result.error_code for result in results if result.name != "once"} == {ErrorCode.INVALID_REQUEST}
    assert len(results) == (2 if second == "name" else 3)
    assert "twice" in bench.services.catalog.topics
    assert "once" not in bench.services.catalog.topics


async def test_the_brokers_own_topics_stay(bench: HandlerBench) -> None:
    """Clients cannot delete what the broker cannot do without."""
    bench.services.catalog.create_topic("__consumer_offsets", 1)
    results = await delete(bench, "__consumer_offsets", "__cluster_metadata")
    assert [result.error_code for result in results] == [
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ]


async def test_deletion_can_be_forbidden() -> None:
    """delete.topic.enable=false: TOPIC_DELETION_DISABLED, and nothing is deleted."""
    async with open_bench(BrokerSettings(log_dirs="/data", delete_topic_enable=False)) as bench:
        await bench.create("t")
        [result] = await delete(bench, "t")
        assert result.error_code == ErrorCode.TOPIC_DELETION_DISABLED
        assert "t" in bench.services.catalog.topics


async def test_a_deletion_survives_a_power_cut(bench: HandlerBench) -> None:
    """What was answered as deleted is gone."""
    await bench.create("t")
    await delete(bench, "t")
    async with open_bench(disk=only_synced(bench.disk)) as after:
        assert "t" not in after.services.catalog.topics


async def test_a_namesake_asked_for_before_the_deletion_is_durable_keeps_its_records(bench: HandlerBench) -> None:
    """It is made once that is so: with a new id and its own directory, which the removal of the old one's does not touch."""
    await bench.create("t")
    await bench.append("t", 3)
    old_id = bench.services.catalog.topics["t"].id
    bench.services.catalog.delete_topic("t")
    [result] = (
        await bench.ask(
            CreateTopicsRequest(topics=[CreatableTopic(name="t", num_partitions=1, replication_factor=1)]), 7
        )
    ).topics
    assert result.error_code == 0
    assert result.topic_id != old_id
    await bench.append("t", 5)
    async with open_bench(disk=only_synced(bench.disk)) as after:
        partition = after.services.catalog.partition("t", 0)
        assert (partition.topic_id, partition.log_end_offset) == (result.topic_id, 5)
