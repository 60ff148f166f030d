"""IncrementalAlterConfigs (44), versions 0-1: changes single settings of topics, brokers and loggers (KIP-339).

- SET gives a value, DELETE takes one away, APPEND and SUBTRACT change the items of a list, beginning with the inherited
  list where there is no own one. Taking away what is not there is no error.
- The changes to one resource hold all together or not at all; other resources are not concerned.
- Broker settings change only if they are dynamic (KIP-226). They are kept in the metadata log and hold at once, for this
  broker or, with an empty name, for every broker. Unlike Kafka we refuse unknown ones: we have no plugins that read them.
- The levels of loggers (KIP-412) hold until the broker ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from minibroker.config.setting import Kind
from minibroker.handlers import loggers
from minibroker.handlers.config_resources import (
    ConfigResource,
    ResourceType,
    alter_each,
    check_broker_name,
    find_resource,
)
from minibroker.handlers.context import Reply, RequestContext, Services
from minibroker.protocol.errors import InvalidConfig, InvalidRequest
from minibroker.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)


class Operation(IntEnum):
    """What is to be done with a setting."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


def handle(request: IncrementalAlterConfigsRequest, context: RequestContext) -> Reply:
    """Change every resource, or say whether it could be changed."""
    return alter_each(request, context.services, _change, IncrementalAlterConfigsResponse)


def _change(resource: AlterConfigsResource, services: Services, validate_only: bool) -> None:
    _check_changes(resource.configs)
    if resource.resource_type == ResourceType.BROKER_LOGGER:
        check_broker_name(resource.resource_name, services)
        _change_loggers(resource.configs, validate_only=validate_only)
    else:
        found = find_resource(resource.resource_type, resource.resource_name, services)
        found.replace(_changed(found, resource.configs), validate_only=validate_only)


def _check_changes(changes: Sequence[AlterableConfig]) -> None:
    names = set()
    for change in changes:
        if change.name in names:
            raise InvalidRequest(f"expected each setting once, found {change.name} twice")
        names.add(change.name)
        if change.config_operation not in frozenset(Operation):
            raise InvalidRequest(
                f"expected an operation from 0 to 3 for {change.name}, found {change.config_operation}"
            )
        if change.value is None and change.config_operation != Operation.DELETE:
            raise InvalidRequest(f"expected a value for {change.name}, found null")


def _changed(resource: ConfigResource, changes: Sequence[AlterableConfig]) -> dict[str, str]:
    """What the resource's own settings come to."""
    configs = dict(resource.own)
    for change in changes:
        value = change.value or ""
        if change.config_operation == Operation.DELETE:
            configs.pop(change.name, None)
        elif change.config_operation == Operation.SET:
            configs[change.name] = value
        elif change.name not in resource.known or resource.known[change.name].kind is not Kind.LIST:
            raise InvalidConfig(f"expected the name of a list to append to or subtract from, found {change.name!r}")
        else:
            items = _items(_present(resource, change.name))
            wanted = _items(value)
            if change.config_operation == Operation.APPEND:
                items += [item for item in wanted if item not in items]
            else:
                items = [item for item in items if item not in wanted]
            configs[change.name] = ",".join(items)
    return configs


def _present(resource: ConfigResource, name: str) -> str:
    if name in resource.own:
        return resource.own[name]
    return next((entry.value or "" for entry in resource.describe() if entry.name == name), "")


def _items(text: str) -> list[str]:
    return [item for part in text.split(",") if (item := part.strip())]


def _change_loggers(changes: Sequence[AlterableConfig], *, validate_only: bool) -> None:
    levels = {}
    for change in changes:
        if change.config_operation not in (Operation.SET, Operation.DELETE):
            raise InvalidRequest(f"expected a level to set or delete for {change.name}, found a list operation")
        level = change.value if change.config_operation == Operation.SET else None
        loggers.check_level(change.name, level)
        levels[change.name] = level
    if not validate_only:
        for name, level in levels.items():
            loggers.set_level(name, level)
