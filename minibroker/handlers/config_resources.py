"""What has settings: a topic, this broker, every broker of the cluster. All three APIs of settings find them here.

The third kind of Kafka's that we know, a broker's loggers, has levels instead of settings: `loggers.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import partial
from typing import Any

import attrs

from minibroker.config.describe import ConfigEntry, describe_broker, describe_cluster, describe_topic
from minibroker.config.layers import ConfigSource
from minibroker.config.setting import Setting, to_text
from minibroker.config.settings import broker_settings
from minibroker.config.topic_settings import topic_settings
from minibroker.handlers.context import Reply, Services
from minibroker.handlers.turns import Steps, answer_in_turns
from minibroker.protocol.errors import InvalidRequest, KafkaError
from minibroker.protocol.messages.alter_configs import AlterConfigsRequest, AlterConfigsResourceResponse
from minibroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from minibroker.topics.catalog import Catalog
from minibroker.topics.names import check_topic_name

STEPS_PER_RESOURCE = 30
EVERY_BROKER = ""
"""The resource name that means the defaults of all brokers."""


class ResourceType(IntEnum):
    """The kinds of resources that have settings here, with Kafka's numbers."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8


@attrs.frozen(kw_only=True)
class ConfigResource:
    """Something with settings of its own on top of those it inherits."""

    own: Mapping[str, str]
    """The settings that were given to it alone, as text by Kafka name."""
    known: Mapping[str, Setting]
    """Every setting that it can have."""
    describe: Callable[[], list[ConfigEntry]]
    """Every setting, as it holds now."""
    check: Callable[[Mapping[str, str]], object]
    """Raises KafkaError unless it can have exactly these of its own."""
    change: Callable[[Mapping[str, str]], object]
    """Lets it have exactly these of its own. Raises KafkaError."""

    def replace(self, configs: Mapping[str, str], *, validate_only: bool) -> None:
        """Let it have exactly these of its own, or say whether it could. Raises KafkaError."""
        (self.check if validate_only else self.change)(configs)


def find_resource(resource_type: int, name: str, services: Services) -> ConfigResource:
    """Return a topic or broker resource.

    Raises InvalidTopicException, UnknownTopicOrPartition, and InvalidRequest for another broker or kind of resource.
    """
    if resource_type == ResourceType.TOPIC:
        return _topic(name, services.catalog)
    if resource_type != ResourceType.BROKER:
        raise InvalidRequest(f"expected a topic (2) or a broker (4), found a resource of type {resource_type}")
    if name == EVERY_BROKER:
        return _every_broker(services.catalog)
    check_broker_name(name, services)
    return _this_broker(services)


def _topic(name: str, catalog: Catalog) -> ConfigResource:
    check_topic_name(name)
    own = catalog.topic(name).configs
    return ConfigResource(
        own=own,
        known=topic_settings(),
        describe=lambda: describe_topic(own, catalog.layers),
        check=partial(catalog.check_altered_configs, name),
        change=partial(catalog.alter_configs, name),
    )


def _this_broker(services: Services) -> ConfigResource:
    catalog, layers = services.catalog, services.catalog.layers
    return ConfigResource(
        own=layers.own,
        known=broker_settings(),
        describe=lambda: _as_advertised(describe_broker(layers), services),
        check=lambda configs: catalog.check_broker_configs(configs, layers.cluster),
        change=lambda configs: catalog.alter_broker_configs(configs, layers.cluster),
    )


def _every_broker(catalog: Catalog) -> ConfigResource:
    """What holds for every broker that does not say otherwise. As on Kafka, only what was changed is described."""
    layers = catalog.layers
    return ConfigResource(
        own=layers.cluster,
        known=broker_settings(),
        describe=lambda: describe_cluster(layers),
        check=lambda configs: catalog.check_broker_configs(layers.own, configs),
        change=lambda configs: catalog.alter_broker_configs(layers.own, configs),
    )


def _as_advertised(entries: list[ConfigEntry], services: Services) -> list[ConfigEntry]:
    """What is advertised is said as it is, also where the broker found it out by itself."""
    told = zip(services.settings.listen_addresses(), services.endpoints, strict=True)
    advertised = tuple(str(attrs.evolve(listener, host=at.host, port=at.port)) for listener, at in told)
    return [
        attrs.evolve(entry, value=to_text(advertised), source=ConfigSource.STATIC_BROKER)
        if entry.name == "advertised.listeners"
        else entry
        for entry in entries
    ]


def check_broker_name(name: str, services: Services) -> None:
    """Raise InvalidRequest unless `name` is this broker's id."""
    if name != str(services.node_id):
        raise InvalidRequest(f"expected the id of this broker, {services.node_id}, found {name!r}")


def alter_each(
    request: AlterConfigsRequest | IncrementalAlterConfigsRequest,
    services: Services,
    alter: Callable[[Any, Services, bool], None],
    response: Callable[..., Any],
) -> Reply:
    """Do `alter(resource, services, validate_only)` for each resource: what became of each, in the order of the request.

    One that is named twice is refused.
    """
    responses: list[AlterConfigsResourceResponse] = []
    steps = _alter_each(request, services, alter, responses)
    return answer_in_turns(steps, response(responses=responses), services.catalog.flush_ticket, services)


def _alter_each(
    request: AlterConfigsRequest | IncrementalAlterConfigsRequest,
    services: Services,
    alter: Callable[[Any, Services, bool], None],
    responses: list[AlterConfigsResourceResponse],
) -> Steps:
    named = Counter((resource.resource_type, resource.resource_name) for resource in request.resources)
    for resource in request.resources:
        response = AlterConfigsResourceResponse(
            resource_type=resource.resource_type, resource_name=resource.resource_name
        )
        try:
            if named[resource.resource_type, resource.resource_name] > 1:
                raise InvalidRequest("expected each resource once")
            alter(resource, services, request.validate_only)
        except KafkaError as error:
            response.error_code, response.error_message = error.code, error.message
        responses.append(response)
        yield STEPS_PER_RESOURCE
