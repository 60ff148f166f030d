"""DescribeConfigs: every setting with where it comes from, for topics, the broker, all brokers, and loggers."""

import logging

import pytest

from minibroker.config.settings import BrokerSettings, broker_settings
from minibroker.config.topic_settings import topic_settings
from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResult,
)
from tests.handlers.harness import HandlerBench, open_bench

TOPIC, BROKER, LOGGER = 2, 4, 8
OWN, DYNAMIC, DYNAMIC_DEFAULT, STATIC, DEFAULT = 1, 2, 3, 4, 5


async def describe(
    bench: HandlerBench,
    resource_type: int,
    name: str,
    *keys: str,
    version: int = 4,
    synonyms: bool = True,
    documentation: bool = False,
) -> DescribeConfigsResult:
    resource = DescribeConfigsResource(
        resource_type=resource_type, resource_name=name, configuration_keys=list(keys) or None
    )
    request = DescribeConfigsRequest(
        resources=[resource], include_synonyms=synonyms, include_documentation=documentation
    )
    [result] = (await bench.ask(request, version)).results
    assert (result.resource_type, result.resource_name) == (resource_type, name)
    return result


def by_name(result: DescribeConfigsResult) -> dict[str, DescribeConfigsResourceResult]:
    return {config.name: config for config in result.configs}


def places(config: DescribeConfigsResourceResult) -> list[tuple[str, str | None, int]]:
    return [(synonym.name, synonym.value, synonym.source) for synonym in config.synonyms]


@pytest.mark.parametrize("version", range(1, 5))
async def test_a_topic_lists_every_setting(bench: HandlerBench, version: int) -> None:
    """Defaults too, each with its source and what stands behind it."""
    await bench.create("t", retention_ms="7")
    result = await describe(bench, TOPIC, "t", version=version)
    configs = by_name(result)
    assert result.error_code == 0
    assert set(configs) == set(topic_settings())
    assert (configs["retention.ms"].value, configs["retention.ms"].config_source) == ("7", OWN)
    assert places(configs["retention.ms"]) == [("retention.ms", "7", OWN), ("log.retention.hours", "168", DEFAULT)]
    assert (configs["cleanup.policy"].value, configs["cleanup.policy"].config_source) == ("delete", DEFAULT)
    assert not configs["retention.ms"].read_only
    assert configs["cleanup.policy"].config_type == (7 if version >= 3 else 0)


async def test_only_what_is_asked_for(bench: HandlerBench) -> None:
    """Named keys, unknown ones left out; synonyms and documentation if asked for; no keys at all means all."""
    await bench.create("t")
    result = await describe(bench, TOPIC, "t", "retention.ms", "nope", synonyms=False)
    assert list(by_name(result)) == ["retention.ms"]
    assert (result.configs[0].synonyms, result.configs[0].documentation) == ([], None)
    result = await describe(bench, TOPIC, "t", "retention.ms", documentation=True)
    assert result.configs[0].documentation == topic_settings()["retention.ms"].documentation
    resource = DescribeConfigsResource(resource_type=TOPIC, resource_name="t", configuration_keys=[])
    [result] = (await bench.ask(DescribeConfigsRequest(resources=[resource]), 4)).results
    assert len(result.configs) == len(topic_settings())


async def test_a_broker_tells_set_from_default_and_dynamic_from_static() -> None:
    """What was set at the start is static; what cannot change while it runs is read-only."""
    async with open_bench(BrokerSettings(log_dirs="/data", num_partitions=4)) as bench:
        configs = by_name(await describe(bench, BROKER, "0"))
        assert set(configs) == set(broker_settings())
        assert places(configs["num.partitions"]) == [("num.partitions", "4", STATIC), ("num.partitions", "1", DEFAULT)]
        assert configs["num.partitions"].read_only
        assert (configs["log.segment.bytes"].config_source, configs["log.segment.bytes"].read_only) == (DEFAULT, False)


async def test_the_advertised_address_is_always_told(bench: HandlerBench) -> None:
    """As clients are told it, also when nobody set it: test suites of clients read it."""
    [config] = (await describe(bench, BROKER, "0", "advertised.listeners", synonyms=False)).configs
    assert (config.value, config.config_source) == ("PLAINTEXT://broker.test:9092", STATIC)
    assert (config.read_only, config.is_sensitive, config.synonyms, config.config_type) == (True, False, [], 7)


async def test_the_defaults_of_all_brokers_list_only_changes(bench: HandlerBench) -> None:
    """As on Kafka: the empty name has what somebody changed for every broker."""
    assert (await describe(bench, BROKER, "")).configs == []
    bench.services.catalog.alter_broker_configs({"log.segment.bytes": "9000"}, {"log.segment.bytes": "8000"})
    [config] = (await describe(bench, BROKER, "")).configs
    assert (config.name, config.value, config.config_source) == ("log.segment.bytes", "8000", DYNAMIC_DEFAULT)
    [config] = (await describe(bench, BROKER, "0", "log.segment.bytes")).configs
    assert (config.value, config.config_source) == ("9000", DYNAMIC)


@pytest.mark.parametrize(
    ("resource_type", "name", "code"),
    [
        (TOPIC, "nope", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "a b", ErrorCode.INVALID_TOPIC_EXCEPTION),
        (TOPIC, "", ErrorCode.INVALID_TOPIC_EXCEPTION),
        (BROKER, "77", ErrorCode.INVALID_REQUEST),
        (BROKER, "abc", ErrorCode.INVALID_REQUEST),
        (LOGGER, "77", ErrorCode.INVALID_REQUEST),
        (LOGGER, "", ErrorCode.INVALID_REQUEST),
        (0, "x", ErrorCode.INVALID_REQUEST),
        (16, "x", ErrorCode.INVALID_REQUEST),
    ],
)
async def test_what_does_not_exist(bench: HandlerBench, resource_type: int, name: str, code: ErrorCode) -> None:
    """Kafka's codes, with a message and no settings."""
    result = await describe(bench, resource_type, name)
    assert (result.error_code, result.configs) == (code, [])
    assert result.error_message


async def test_several_resources_are_answered_in_order(bench: HandlerBench) -> None:
    """A bad one among them changes nothing for the others, one that comes twice is answered once."""
    await bench.create("t")
    names = ["t", "nope", "t"]
    resources = [DescribeConfigsResource(resource_type=TOPIC, resource_name=name) for name in names]
    results = (await bench.ask(DescribeConfigsRequest(resources=resources), 4)).results
    assert [result.resource_name for result in results] == names[:2]
    assert [len(result.configs) for result in results] == [len(topic_settings()), 0]


async def test_loggers_have_the_levels_in_force(bench: HandlerBench) -> None:
    """Kafka's words for them, inherited ones too, and the names under which they can be changed."""
    logging.getLogger("minibroker.topics.catalog")
    configs = by_name(await describe(bench, LOGGER, "0"))
    assert configs["root"].value in ("DEBUG", "INFO", "WARN", "ERROR", "FATAL")
    assert configs["minibroker.topics.catalog"].config_source == 6
    assert all(name == "root" or name.startswith("minibroker") for name in configs)
    assert list(by_name(await describe(bench, LOGGER, "0", "root"))) == ["root"]
