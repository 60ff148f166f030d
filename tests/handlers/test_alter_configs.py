"""AlterConfigs: exactly what is given, and nothing else."""

import pytest

from minibroker.protocol.errors import ErrorCode
from minibroker.protocol.messages.alter_configs import (
    AlterableConfig,
    AlterConfigsRequest,
    AlterConfigsResource,
    AlterConfigsResourceResponse,
)
from tests.handlers.harness import HandlerBench, open_bench
from tests.simulation.disk import only_synced

TOPIC, BROKER, LOGGER = 2, 4, 8

Settings = list[tuple[str, str | None]]


def resource(resource_type: int, name: str, settings: Settings) -> AlterConfigsResource:
    return AlterConfigsResource(
        resource_type=resource_type,
        resource_name=name,
        configs=[AlterableConfig(name=key, value=value) for key, value in settings],
    )


async def ask(
    bench: HandlerBench, *resources: AlterConfigsResource, validate_only: bool = False, version: int = 2
) -> list[AlterConfigsResourceResponse]:
    request = AlterConfigsRequest(resources=list(resources), validate_only=validate_only)
    return (await bench.ask(request, version)).responses


@pytest.mark.parametrize("version", range(3))
async def test_what_is_not_given_is_reset(bench: HandlerBench, version: int) -> None:
    """The settings given replace all that were there, durably."""
    await bench.create("t", retention_ms="7", segment_ms="8")
    [response] = await ask(bench, resource(TOPIC, "t", [("retention.bytes", "9")]), version=version)
    assert (response.error_code, response.error_message) == (0, None)
    async with open_bench(disk=only_synced(bench.disk)) as after:
        assert after.services.catalog.topics["t"].configs == {"retention.bytes": "9"}


async def test_brokers(bench: HandlerBench) -> None:
    """This broker's changes and those for all are replaced apart."""
    catalog = bench.services.catalog
    await ask(bench, resource(BROKER, "0", [("log.retention.ms", "5")]), resource(BROKER, "", [("log.roll.ms", "6")]))
    assert (catalog.layers.own, catalog.layers.cluster) == ({"log.retention.ms": "5"}, {"log.roll.ms": "6"})
    await ask(bench, resource(BROKER, "0", []))
    assert (catalog.layers.own, catalog.layers.cluster) == ({}, {"log.roll.ms": "6"})


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (resource(TOPIC, "t", [("retention.ms", "x")]), ErrorCode.INVALID_CONFIG),
        (resource(TOPIC, "t", [("nope", "1")]), ErrorCode.INVALID_CONFIG),
        (resource(TOPIC, "t", [("retention.ms", None)]), ErrorCode.INVALID_REQUEST),
        (resource(TOPIC, "t", [("retention.ms", "1"), ("retention.ms", "2")]), ErrorCode.INVALID_REQUEST),
        (resource(TOPIC, "nope", []), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (resource(BROKER, "0", [("num.partitions", "3")]), ErrorCode.INVALID_REQUEST),
        (resource(BROKER, "77", []), ErrorCode.INVALID_REQUEST),
        (resource(LOGGER, "0", [("root", "INFO")]), ErrorCode.INVALID_REQUEST),
    ],
)
async def test_refusals(bench: HandlerBench, wanted: AlterConfigsResource, code: ErrorCode) -> None:
    """Kafka's codes with a message, and everything as it was."""
    await bench.create("t", retention_ms="7")
    [response] = await ask(bench, wanted)
    assert response.error_code == code
    assert response.error_message
    assert bench.services.catalog.topics["t"].configs == {"retention.ms": "7"}


async def test_a_resource_given_twice_is_refused(bench: HandlerBench) -> None:
    """Kafka does not answer at all."""
    await bench.create("t", retention_ms="7")
    responses = await ask(bench, resource(TOPIC, "t", []), resource(TOPIC, "t", []))
    assert [response.error_code for response in responses] == [ErrorCode.INVALID_REQUEST] * 2
    assert bench.services.catalog.topics["t"].configs == {"retention.ms": "7"}


async def test_validate_only_changes_nothing(bench: HandlerBench) -> None:
    """The answer is that of a change."""
    await bench.create("t")
    good, bad = await ask(
        bench,
        resource(TOPIC, "t", [("retention.ms", "1")]),
        resource(BROKER, "0", [("log.retention.ms", "x")]),
        validate_only=True,
    )
    assert (good.error_code, bad.error_code) == (0, ErrorCode.INVALID_REQUEST)
    assert bench.services.catalog.topics["t"].configs == {}
