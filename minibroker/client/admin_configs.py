"""Administration of settings: describe, and change one by one (KIP-339)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import attrs

from minibroker.client.admin_base import AdminBase, check
from minibroker.protocol.api import ApiKey
from minibroker.protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
)
from minibroker.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

FIRST_WITH_DOCUMENTATION = 3


class ResourceType(IntEnum):
    """What can have settings."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    GROUP = 32


class ConfigSource(IntEnum):
    """Where a value comes from."""

    UNKNOWN = 0
    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5
    DYNAMIC_BROKER_LOGGER = 6
    CLIENT_METRICS = 7
    GROUP = 8


class _Operation(IntEnum):
    SET = 0
    DELETE = 1


@attrs.frozen(kw_only=True)
class ConfigEntry:
    """One setting."""

    name: str
    value: str | None
    """None for a sensitive one."""
    source: ConfigSource = ConfigSource.UNKNOWN
    read_only: bool = False
    sensitive: bool = False
    documentation: str | None = None

    @property
    def is_default(self) -> bool:
        """Whether nobody has set it."""
        return self.source is ConfigSource.DEFAULT


class ConfigAdmin(AdminBase):
    """The part of `Admin` about settings."""

    async def topic_configs(self, topic: str) -> dict[str, ConfigEntry]:
        """All settings of a topic by name. Raises UnknownTopicOrPartition."""
        return await self._describe(ResourceType.TOPIC, topic)

    async def broker_configs(self, node_id: int) -> dict[str, ConfigEntry]:
        """All settings of a broker by name. Raises KafkaError."""
        await self._cluster.refresh()
        return await self._describe(ResourceType.BROKER, str(node_id), node_id)

    async def alter_topic_configs(
        self, topic: str, changes: Mapping[str, str | None], *, validate_only: bool = False
    ) -> None:
        """Set settings of a topic, or with None go back to the default. Raises InvalidConfig and others."""
        await self._alter(ResourceType.TOPIC, topic, changes, validate_only)

    async def alter_broker_configs(
        self, node_id: int, changes: Mapping[str, str | None], *, validate_only: bool = False
    ) -> None:
        """Set settings of a broker while it runs, or with None go back. Raises InvalidConfig and others."""
        await self._cluster.refresh()
        await self._alter(ResourceType.BROKER, str(node_id), changes, validate_only, node_id)

    async def _describe(
        self, resource_type: ResourceType, name: str, node_id: int | None = None
    ) -> dict[str, ConfigEntry]:
        resource = DescribeConfigsResource(resource_type=resource_type, resource_name=name, configuration_keys=None)

        def build(version: int) -> DescribeConfigsRequest:
            return DescribeConfigsRequest(
                resources=[resource], include_documentation=version >= FIRST_WITH_DOCUMENTATION
            )

        def read(response: DescribeConfigsResponse) -> dict[str, ConfigEntry]:
            (result,) = response.results
            check(result.error_code, result.error_message, f"settings of {resource_type.name.lower()} {name!r}")
            return {config.name: _entry(config) for config in sorted(result.configs, key=lambda config: config.name)}

        return await self._ask(build, read, api=ApiKey.DESCRIBE_CONFIGS, node_id=node_id)

    async def _alter(
        self,
        resource_type: ResourceType,
        name: str,
        changes: Mapping[str, str | None],
        validate_only: bool,
        node_id: int | None = None,
    ) -> None:
        configs = [
            AlterableConfig(
                name=key, value=value, config_operation=_Operation.DELETE if value is None else _Operation.SET
            )
            for key, value in changes.items()
        ]
        resource = AlterConfigsResource(resource_type=resource_type, resource_name=name, configs=configs)
        request = IncrementalAlterConfigsRequest(resources=[resource], validate_only=validate_only)

        def read(response: IncrementalAlterConfigsResponse) -> None:
            for answer in response.responses:
                check(answer.error_code, answer.error_message, f"settings of {resource_type.name.lower()} {name!r}")

        await self._ask(request, read, api=ApiKey.INCREMENTAL_ALTER_CONFIGS, node_id=node_id)


def _entry(config: DescribeConfigsResourceResult) -> ConfigEntry:
    known = config.config_source in frozenset(ConfigSource)
    return ConfigEntry(
        name=config.name,
        value=config.value,
        source=ConfigSource(config.config_source) if known else ConfigSource.UNKNOWN,
        read_only=config.read_only,
        sensitive=config.is_sensitive,
        documentation=config.documentation,
    )
