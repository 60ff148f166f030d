"""CreateTopics: defaults, placement, refusals, what a new topic answers, durability."""

from collections.abc import Coroutine
from uuid import UUID

import pytest

from minibroker.config.settings import BrokerSettings
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreatableTopicResult,
    CreateTopicsRequest,
)
from tests.handlers.harness import HandlerBench, open_bench
from tests.simulation.disk import only_synced

NO_ID = UUID(int=0)


def topic(
    name: str,
    partitions: int = 1,
    replicas: int = 1,
    assignments: list[tuple[int, list[int]]] | None = None,
    **configs: str | None,
) -> CreatableTopic:
    return CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=replicas,
        assignments=[
            CreatableReplicaAssignment(partition_index=index, broker_ids=broker_ids)
            for index, broker_ids in assignments or ()
        ],
        configs=[CreatableTopicConfig(name=key.replace("_", "."), value=value) for key, value in configs.items()],
    )


async def create(
    bench: HandlerBench, *topics: CreatableTopic, version: int = 7, validate_only: bool = False
) -> list[CreatableTopicResult]:
    request = CreateTopicsRequest(topics=list(topics), validate_only=validate_only)
    return (await bench.ask(request, version)).topics


async def code_of(bench: HandlerBench, wanted: CreatableTopic) -> ErrorCode:
    [result] = await create(bench, wanted)
    if result.error_code:
        assert result.error_message
        assert wanted.name not in bench.services.catalog.topics or wanted.name == "there"
    return ErrorCode(result.error_code)


async def test_a_new_topic_answers_what_it_has_got(bench: HandlerBench) -> None:
    """From v5 on partitions, replicas and every setting with its source, from v7 on the id."""
    [result] = await create(bench, topic("t", 3, retention_ms="5"))
    assert (result.error_code, result.error_message) == (0, None)
    assert (result.num_partitions, result.replication_factor) == (3, 1)
    assert result.topic_id == bench.services.catalog.topics["t"].id != NO_ID
    assert result.configs is not None
    configs = {config.name: (config.value, config.config_source) for config in result.configs}
    assert configs["retention.ms"] == ("5", 1)
    assert configs["cleanup.policy"] == ("delete", 5)
    assert len(bench.services.catalog.topics["t"].partitions) == 3


@pytest.mark.parametrize("version", range(2, 8))
async def test_every_version_creates(bench: HandlerBench, version: int) -> None:
    """Versions without the new fields get on without them."""
    [result] = await create(bench, topic("t"), version=version)
    assert result.error_code == 0
    assert "t" in bench.services.catalog.topics


async def test_minus_one_means_the_brokers_defaults() -> None:
    """-1 partitions is num.partitions, and -1 replicas is one."""
    async with open_bench(BrokerSettings(log_dirs="/data", num_partitions=4)) as bench:
        [result] = await create(bench, topic("t", -1, -1))
        assert (result.num_partitions, result.replication_factor) == (4, 1)


@pytest.mark.parametrize(
    ("partitions", "replicas", "code"),
    [
        (1, 2, ErrorCode.INVALID_REPLICATION_FACTOR),
        (1, 0, ErrorCode.INVALID_REPLICATION_FACTOR),
        (1, -2, ErrorCode.INVALID_REPLICATION_FACTOR),
        (0, 1, ErrorCode.INVALID_PARTITIONS),
        (-2, 1, ErrorCode.INVALID_PARTITIONS),
        (0, 2, ErrorCode.INVALID_PARTITIONS),
        (100001, 1, ErrorCode.INVALID_PARTITIONS),
    ],
)
async def test_impossible_numbers(bench: HandlerBench, partitions: int, replicas: int, code: ErrorCode) -> None:
    """More replicas than brokers, and numbers that are none, have Kafka's codes."""
    assert await code_of(bench, topic("t", partitions, replicas)) is code


@pytest.mark.parametrize(
    "assignments",
    [[(0, [0]), (2, [0])], [(1, [0])], [(0, [0]), (0, [0])], [(-1, [0])], [(0, [7])], [(0, [0, 0])], [(0, [])]],
)
async def test_impossible_placements(bench: HandlerBench, assignments: list[tuple[int, list[int]]]) -> None:
    """Partitions are numbered from 0 on and are on this broker, once."""
    assert await code_of(bench, topic("t", -1, -1, assignments)) is ErrorCode.INVALID_REPLICA_ASSIGNMENT


async def test_a_placement_gives_the_number_of_partitions(bench: HandlerBench) -> None:
    """In any order; beside it the two numbers must be -1."""
    [result] = await create(bench, topic("t", -1, -1, [(1, [0]), (0, [0])]))
    assert (result.error_code, result.num_partitions) == (0, 2)
    assert await code_of(bench, topic("u", 1, -1, [(0, [0])])) is ErrorCode.INVALID_REQUEST
    assert await code_of(bench, topic("u", -1, 1, [(0, [0])])) is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", ErrorCode.INVALID_TOPIC_EXCEPTION),
        (".", ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("a b", ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("é", ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("x" * 250, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("th_ere", ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("there", ErrorCode.TOPIC_ALREADY_EXISTS),
        ("__consumer_offsets", ErrorCode.INVALID_REQUEST),
        ("__transaction_state", ErrorCode.INVALID_REQUEST),
        ("x" * 249, ErrorCode.NONE),
    ],
)
async def test_names(bench: HandlerBench, name: str, code: ErrorCode) -> None:
    """Illegal, colliding, taken and reserved names are refused."""
    await bench.create("there")
    await bench.create("th.ere")
    assert await code_of(bench, topic(name)) is code


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        ({"retention_sm": "1"}, "retention.ms"),
        ({"retention_ms": "x"}, "retention.ms expects an integer"),
        ({"retention_ms": None}, "retention.ms"),
    ],
)
async def test_bad_settings_say_what_is_wrong(bench: HandlerBench, configs: dict[str, str | None], said: str) -> None:
    """INVALID_CONFIG, with the nearest known name or what would be right."""
    [result] = await create(bench, topic("t", **configs))
    assert result.error_code == ErrorCode.INVALID_CONFIG
    assert said in (result.error_message or "")


async def test_a_name_given_twice_is_refused_once(bench: HandlerBench) -> None:
    """INVALID_REQUEST, one answer per name, and the other topics are made."""
    results = await create(bench, topic("twice"), topic("once"), topic("twice", 2))
    assert {result.name: result.error_code for result in results} == {"twice": ErrorCode.INVALID_REQUEST, "once": 0}
    assert len(results) == 2
    assert "twice" not in bench.services.catalog.topics


async def test_validate_only_changes_nothing(bench: HandlerBench) -> None:
    """The answer is that of a creation, but for the id; what is wrong is still said."""
    good, bad = await create(bench, topic("t", 3, retention_ms="5"), topic("u", retention_ms="x"), validate_only=True)
    assert (good.error_code, good.num_partitions, good.topic_id) == (0, 3, NO_ID)
    assert bad.error_code == ErrorCode.INVALID_CONFIG
    assert not {"t", "u"} & set(bench.services.catalog.topics)


async def test_what_was_answered_survives_a_power_cut(bench: HandlerBench) -> None:
    """The answer waits for the disk: topic, id, partitions and settings are there afterwards."""
    [result] = await create(bench, topic("t", 3, retention_ms="5"))
    async with open_bench(disk=only_synced(bench.disk)) as after:
        found = after.services.catalog.topics["t"]
        assert (found.id, len(found.partitions), found.configs) == (result.topic_id, 3, {"retention.ms": "5"})
        assert found.settings.retention_ms == 5


async def test_many_topics_are_made_in_turns(bench: HandlerBench) -> None:
    """A request for more than a few is a coroutine that lets others in; each topic has its answer, in order."""
    wanted = [topic(f"t{index}") for index in range(20)] + [topic("t3"), topic("not a name")]
    reply = bench.start(CreateTopicsRequest(topics=wanted, timeout_ms=1000), 7)
    assert isinstance(reply, Coroutine)
    assert len(bench.services.catalog.topics) < 20
    results = (await reply).response.topics
    assert [result.name for result in results] == [*(f"t{index}" for index in range(20)), "not a name"]
    assert {result.name for result in results if result.error_code} == {"t3", "not a name"}
    assert all(result.configs for result in results if not result.error_code)
