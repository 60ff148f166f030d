"""IncrementalAlterConfigs: the four operations, on topics, the broker and loggers, live and after a restart."""

import logging
from collections.abc import Iterator

import pytest

from minibroker.config.settings import BrokerSettings
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.alter_configs import AlterConfigsResourceResponse
from minibroker.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tests.handlers.harness import HandlerBench, open_bench
from tests.simulation.disk import only_synced

TOPIC, BROKER, LOGGER = 2, 4, 8
SET, DELETE, APPEND, SUBTRACT = range(4)

Change = tuple[str, int, str | None]


def resource(resource_type: int, name: str, *changes: Change) -> AlterConfigsResource:
    return AlterConfigsResource(
        resource_type=resource_type,
        resource_name=name,
        configs=[
            AlterableConfig(name=key, config_operation=operation, value=value) for key, operation, value in changes
        ],
    )


async def ask(
    bench: HandlerBench, *resources: AlterConfigsResource, validate_only: bool = False, version: int = 1
) -> list[AlterConfigsResourceResponse]:
    request = IncrementalAlterConfigsRequest(resources=list(resources), validate_only=validate_only)
    return (await bench.ask(request, version)).responses


async def change(bench: HandlerBench, resource_type: int, name: str, *changes: Change) -> ErrorCode:
    [response] = await ask(bench, resource(resource_type, name, *changes))
    assert (response.resource_type, response.resource_name) == (resource_type, name)
    assert bool(response.error_code) == bool(response.error_message)
    return ErrorCode(response.error_code)


def own(bench: HandlerBench) -> dict[str, str]:
    return dict(bench.services.catalog.topics["t"].configs)


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ({}, [("retention.ms", SET, "7")], {"retention.ms": "7"}),
        ({"retention_ms": "7"}, [("retention.ms", DELETE, None)], {}),
        ({"retention_ms": "7"}, [("retention.ms", DELETE, "x"), ("segment.ms", SET, "8")], {"segment.ms": "8"}),
        ({}, [("retention.ms", DELETE, None)], {}),
        ({}, [("nope", DELETE, None)], {}),
        ({}, [], {}),
        ({}, [("cleanup.policy", APPEND, "compact")], {"cleanup.policy": "delete,compact"}),
        ({}, [("cleanup.policy", APPEND, "delete")], {"cleanup.policy": "delete"}),
        ({}, [("cleanup.policy", APPEND, " compact , delete")], {"cleanup.policy": "delete,compact"}),
        ({"cleanup_policy": "compact"}, [("cleanup.policy", APPEND, "delete")], {"cleanup.policy": "compact,delete"}),
        (
            {"cleanup_policy": "compact, delete"},
            [("cleanup.policy", SUBTRACT, "delete")],
            {"cleanup.policy": "compact"},
        ),
        ({"cleanup_policy": "compact"}, [("cleanup.policy", SUBTRACT, "delete")], {"cleanup.policy": "compact"}),
        ({}, [("cleanup.policy", SUBTRACT, "compact,delete")], {"cleanup.policy": ""}),
    ],
)
async def test_operations(
    bench: HandlerBench, before: dict[str, str], changes: list[Change], after: dict[str, str]
) -> None:
    """Set, delete, and change lists from what holds now; taking away what is not there is no error."""
    await bench.create("t", **before)
    assert await change(bench, TOPIC, "t", *changes) is ErrorCode.NONE
    assert own(bench) == after


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ([("nope", SET, "1")], ErrorCode.INVALID_CONFIG),
        ([("nope", APPEND, "1")], ErrorCode.INVALID_CONFIG),
        ([("retention.ms", APPEND, "1")], ErrorCode.INVALID_CONFIG),
        ([("retention.ms", SET, "x")], ErrorCode.INVALID_CONFIG),
        ([("segment.ms", SET, "5"), ("retention.ms", SET, "x")], ErrorCode.INVALID_CONFIG),
        ([("retention.ms", SET, None)], ErrorCode.INVALID_REQUEST),
        ([("cleanup.policy", APPEND, None)], ErrorCode.INVALID_REQUEST),
        ([("retention.ms", 9, "1")], ErrorCode.INVALID_REQUEST),
        ([("retention.ms", SET, "1"), ("retention.ms", DELETE, None)], ErrorCode.INVALID_REQUEST),
    ],
)
async def test_a_refused_change_leaves_all_as_it_was(
    bench: HandlerBench, changes: list[Change], code: ErrorCode
) -> None:
    """Kafka's codes; of several changes none is made."""
    await bench.create("t", retention_ms="7")
    assert await change(bench, TOPIC, "t", *changes) is code
    assert own(bench) == {"retention.ms": "7"}


@pytest.mark.parametrize(
    ("resource_type", "name", "code"),
    [
        (TOPIC, "nope", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "a b", ErrorCode.INVALID_TOPIC_EXCEPTION),
        (TOPIC, "__cluster_metadata", ErrorCode.INVALID_TOPIC_EXCEPTION),
        (BROKER, "77", ErrorCode.INVALID_REQUEST),
        (BROKER, "abc", ErrorCode.INVALID_REQUEST),
        (LOGGER, "77", ErrorCode.INVALID_REQUEST),
        (3, "x", ErrorCode.INVALID_REQUEST),
    ],
)
async def test_what_cannot_be_changed(bench: HandlerBench, resource_type: int, name: str, code: ErrorCode) -> None:
    """Other brokers, unknown topics and kinds, and the log that settings themselves are kept in."""
    assert await change(bench, resource_type, name, ("retention.ms", SET, "1")) is code


async def test_a_resource_given_twice_is_refused_and_others_are_not(bench: HandlerBench) -> None:
    """Each resource is its own matter; the order of two changes to one is nobody's guess."""
    await bench.create("t")
    await bench.create("u")
    codes = [
        response.error_code
        for response in await ask(
            bench,
            resource(TOPIC, "t", ("retention.ms", SET, "1")),
            resource(TOPIC, "u", ("retention.ms", SET, "1")),
            resource(TOPIC, "t", ("segment.ms", SET, "1")),
            resource(TOPIC, "nope", ("segment.ms", SET, "1")),
        )
    ]
    assert codes == [
        ErrorCode.INVALID_REQUEST,
        0,
        ErrorCode.INVALID_REQUEST,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ]
    assert own(bench) == {}


async def test_validate_only_changes_nothing(bench: HandlerBench) -> None:
    """For topics, brokers and loggers alike; what is wrong is still said."""
    await bench.create("t")
    level = logging.getLogger("minibroker.test").level
    responses = await ask(
        bench,
        resource(TOPIC, "t", ("retention.ms", SET, "1")),
        resource(BROKER, "0", ("log.retention.ms", SET, "1")),
        resource(BROKER, "", ("log.retention.ms", SET, "x")),
        resource(LOGGER, "0", ("minibroker.test", SET, "ERROR")),
        validate_only=True,
    )
    assert [response.error_code for response in responses] == [0, 0, ErrorCode.INVALID_REQUEST, 0]
    assert own(bench) == {}
    assert bench.services.settings.log_retention_ms is None
    assert logging.getLogger("minibroker.test").level == level


@pytest.mark.parametrize("version", range(2))
async def test_a_topics_settings_hold_at_once_and_after_a_power_cut(bench: HandlerBench, version: int) -> None:
    """Down to the log that acts on them."""
    await bench.create("t", 2)
    await ask(bench, resource(TOPIC, "t", ("retention.ms", SET, "7")), version=version)
    assert [partition.log.settings.retention_ms for partition in bench.services.catalog.topics["t"].partitions] == [
        7,
        7,
    ]
    async with open_bench(disk=only_synced(bench.disk)) as after:
        assert own(after) == {"retention.ms": "7"}
        assert after.services.catalog.partition("t", 0).log.settings.retention_ms == 7


async def test_a_brokers_settings_hold_at_once_for_what_inherits_them(bench: HandlerBench) -> None:
    """This broker's win over all brokers', a topic's own over both; deleted, the next layer holds again."""
    await bench.create("t")
    await bench.create("own", retention_ms="7")
    catalog = bench.services.catalog

    def retention() -> tuple[int, int]:
        return catalog.topics["t"].settings.retention_ms, catalog.partition("own", 0).log.settings.retention_ms

    assert await change(bench, BROKER, "", ("log.retention.ms", SET, "200")) is ErrorCode.NONE
    assert retention() == (200, 7)
    assert await change(bench, BROKER, "0", ("log.retention.ms", SET, "100")) is ErrorCode.NONE
    assert retention() == (100, 7)
    await bench.create("later")
    assert catalog.topics["later"].settings.retention_ms == 100
    assert await change(bench, BROKER, "0", ("log.retention.ms", DELETE, None)) is ErrorCode.NONE
    assert retention() == (200, 7)
    assert await change(bench, BROKER, "", ("log.retention.ms", DELETE, None)) is ErrorCode.NONE
    assert retention() == (604800000, 7)


async def test_a_brokers_settings_survive_a_power_cut(bench: HandlerBench) -> None:
    """They win over what the next start says, as on Kafka."""
    await bench.create("t")
    await change(bench, BROKER, "0", ("message.max.bytes", SET, "100"), ("log.cleanup.policy", APPEND, "compact"))
    await change(bench, BROKER, "", ("log.retention.ms", SET, "200"))
    settings = BrokerSettings(log_dirs="/data", message_max_bytes=5)
    async with open_bench(settings, only_synced(bench.disk)) as after:
        assert after.services.settings.message_max_bytes == 100
        assert after.services.settings.log_retention_ms == 200
        assert after.services.catalog.partition("t", 0).limits.max_message_bytes == 100
        assert after.services.catalog.topics["t"].settings.cleanup_policy == ("delete", "compact")


@pytest.mark.parametrize("name", ["0", ""])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num.partitions", "3"),
        ("log.retention.hours", "1"),
        ("nope", "1"),
        ("log.segment.bytes", "x"),
        ("max.connections", "0"),
        ("max.connections.per.ip", "0"),
    ],
)
async def test_only_dynamic_broker_settings_change(bench: HandlerBench, name: str, key: str, value: str) -> None:
    """A static or unknown one, and a bad value, are INVALID_REQUEST: one that would let nobody in could not be undone.

    To delete a static one is no change.
    """
    assert await change(bench, BROKER, name, (key, SET, value)) is ErrorCode.INVALID_REQUEST
    assert await change(bench, BROKER, name, ("num.partitions", DELETE, None)) is ErrorCode.NONE


async def test_making_a_topic_durable_again_flushes_it(bench: HandlerBench) -> None:
    """With flush.messages back at 1 what was visible before becomes durable, and so visible again."""
    await bench.create("t", flush_messages="1000")
    await bench.append("t", 10)
    partition = bench.services.catalog.partition("t", 0)
    assert (partition.high_watermark, partition.log.durable_end_offset) == (10, 0)
    await change(bench, TOPIC, "t", ("flush.messages", DELETE, None))
    await bench.services.flusher.wait_durable(partition.flush_ticket())
    assert partition.high_watermark == 10


async def test_the_metadata_log_stays_durable_whatever_the_broker_defaults_to(bench: HandlerBench) -> None:
    """What clients are answered about topics is on disk, also where their records may be late."""
    await change(bench, BROKER, "0", ("log.flush.interval.messages", SET, "1000"))
    await bench.create("t")
    async with open_bench(disk=only_synced(bench.disk)) as after:
        assert not after.services.catalog.topics["t"].settings.durable_before_visible


@pytest.fixture
def noisy() -> Iterator[logging.Logger]:
    logger = logging.getLogger("minibroker.test")
    yield logger
    logger.setLevel(logging.NOTSET)


async def test_levels_of_loggers(bench: HandlerBench, noisy: logging.Logger) -> None:
    """Set in Kafka's words, deleted to be inherited again; the root logger has to have one."""
    assert await change(bench, LOGGER, "0", ("minibroker.test", SET, "FATAL")) is ErrorCode.NONE
    assert noisy.level == logging.CRITICAL
    assert await change(bench, LOGGER, "0", ("minibroker.test", DELETE, None)) is ErrorCode.NONE
    assert noisy.level == logging.NOTSET
    assert await change(bench, LOGGER, "0", ("minibroker.test", SET, "LOUD")) is ErrorCode.INVALID_CONFIG
    assert await change(bench, LOGGER, "0", ("minibroker.test", APPEND, "INFO")) is ErrorCode.INVALID_REQUEST
    assert await change(bench, LOGGER, "0", ("no.such.logger", SET, "INFO")) is ErrorCode.INVALID_CONFIG
    assert await change(bench, LOGGER, "0", ("root", DELETE, None)) is ErrorCode.INVALID_REQUEST
