"""What has settings: a topic, this broker, every broker of the cluster. All three APIs of settings find them here.

The third kind of Kafka's that we know, a broker's loggers, has levels instead of settings: `loggers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol

import attrs

from minibroker.config.describe import ConfigEntry, describe_broker, describe_cluster, describe_topic
from minibroker.config.layers import ConfigSource
from minibroker.config.setting import Kind, to_text
from minibroker.config.settings import broker_settings
from minibroker.config.topic_settings import topic_settings
from minibroker.handlers.context import Services
from minibroker.protocol.errors import InvalidRequest
from minibroker.topics.names import check_topic_name

EVERY_BROKER = ""
"""The resource name that means the defaults of all brokers."""


class ResourceType(IntEnum):
    """The kinds of resources that have settings here, with Kafka's numbers."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8


class ConfigResource(Protocol):
    """Something with settings of its own on top of those it inherits."""

    def describe(self) -> list[ConfigEntry]:
        """Every setting, as it holds now."""

    def own(self) -> Mapping[str, str]:
        """The settings that were given to it alone, as text by Kafka name."""

    def is_list(self, name: str) -> bool:
        """Whether there is such a setting, and it is a list."""

    def replace(self, configs: Mapping[str, str], *, validate_only: bool) -> None:
        """Let it have exactly these of its own. Raises KafkaError."""


@attrs.frozen
class TopicResource:
    """A topic that exists."""

    services: Services
    name: str

    def describe(self) -> list[ConfigEntry]:
        """See ConfigResource."""
        return describe_topic(self.own(), self.services.catalog.layers)

    def own(self) -> Mapping[str, str]:
        """See ConfigResource."""
        return self.services.catalog.topic(self.name).configs

    def is_list(self, name: str) -> bool:
        """See ConfigResource."""
        return name in topic_settings() and topic_settings()[name].kind is Kind.LIST

    def replace(self, configs: Mapping[str, str], *, validate_only: bool) -> None:
        """See ConfigResource. Raises InvalidConfig, InvalidTopicException, KafkaStorageError."""
        catalog = self.services.catalog
        if validate_only:
            catalog.check_altered_configs(self.name, configs)
        else:
            catalog.alter_configs(self.name, configs)


@attrs.frozen
class BrokerResource:
    """This broker."""

    services: Services

    def describe(self) -> list[ConfigEntry]:
        """See ConfigResource. What is advertised is said as it is, also where the broker found it out by itself."""
        services = self.services
        listeners = services.settings.listen_addresses()
        advertised = to_text(
            tuple(
                str(attrs.evolve(listener, host=endpoint.host, port=endpoint.port))
                for listener, endpoint in zip(listeners, services.endpoints, strict=True)
            )
        )
        return [
            attrs.evolve(entry, value=advertised, source=ConfigSource.STATIC_BROKER)
            if entry.name == "advertised.listeners"
            else entry
            for entry in describe_broker(services.catalog.layers)
        ]

    def own(self) -> Mapping[str, str]:
        """See ConfigResource."""
        return self.services.catalog.layers.own

    def is_list(self, name: str) -> bool:
        """See ConfigResource."""
        return _is_list_of_broker(name)

    def replace(self, configs: Mapping[str, str], *, validate_only: bool) -> None:
        """See ConfigResource. Raises InvalidRequest, KafkaStorageError."""
        catalog = self.services.catalog
        change = catalog.check_broker_configs if validate_only else catalog.alter_broker_configs
        change(configs, catalog.layers.cluster)


@attrs.frozen
class ClusterResource:
    """What holds for every broker that does not say otherwise."""

    services: Services

    def describe(self) -> list[ConfigEntry]:
        """See ConfigResource: as on Kafka, only what was changed."""
        return describe_cluster(self.services.catalog.layers)

    def own(self) -> Mapping[str, str]:
        """See ConfigResource."""
        return self.services.catalog.layers.cluster

    def is_list(self, name: str) -> bool:
        """See ConfigResource."""
        return _is_list_of_broker(name)

    def replace(self, configs: Mapping[str, str], *, validate_only: bool) -> None:
        """See ConfigResource. Raises InvalidRequest, KafkaStorageError."""
        catalog = self.services.catalog
        change = catalog.check_broker_configs if validate_only else catalog.alter_broker_configs
        change(catalog.layers.own, configs)


def _is_list_of_broker(name: str) -> bool:
    return name in broker_settings() and broker_settings()[name].kind is Kind.LIST


def find_resource(resource_type: int, name: str, services: Services) -> ConfigResource:
    """Return a topic or broker resource.

    Raises InvalidTopicException, UnknownTopicOrPartition, and InvalidRequest for another broker or kind of resource.
    """
    if resource_type == ResourceType.TOPIC:
        check_topic_name(name)
        services.catalog.topic(name)
        return TopicResource(services, name)
    if resource_type != ResourceType.BROKER:
        raise InvalidRequest(f"expected a topic (2) or a broker (4), found a resource of type {resource_type}")
    if name == EVERY_BROKER:
        return ClusterResource(services)
    check_broker_name(name, services)
    return BrokerResource(services)


def check_broker_name(name: str, services: Services) -> None:
    """Raise InvalidRequest unless `name` is this broker's id."""
    if name != str(services.node_id):
        raise InvalidRequest(f"expected the id of this broker, {services.node_id}, found {name!r}")
