"""AlterConfigs (33), versions 0-2: lets a topic or broker have exactly the settings that are given; the rest is inherited.

Superseded by IncrementalAlterConfigs (KIP-339), as two clients that change different settings undo each other's work.
A resource or a setting that is named twice is refused. Left out: loggers, as on Kafka.
"""

from __future__ import annotations

from minibroker.handlers.config_resources import alter_each, find_resource
from minibroker.handlers.context import Reply, RequestContext, Services
from minibroker.protocol.errors import InvalidRequest
from minibroker.protocol.messages.alter_configs import (
    AlterConfigsRequest,
    AlterConfigsResource,
    AlterConfigsResponse,
)


def handle(request: AlterConfigsRequest, context: RequestContext) -> Reply:
    """Change every resource, or say whether it could be changed."""
    return alter_each(request, context.services, _replace, AlterConfigsResponse)


def _replace(resource: AlterConfigsResource, services: Services, validate_only: bool) -> None:
    found = find_resource(resource.resource_type, resource.resource_name, services)
    configs: dict[str, str] = {}
    for config in resource.configs:
        if config.name in configs:
            raise InvalidRequest(f"expected each setting once, found {config.name} twice")
        if config.value is None:
            raise InvalidRequest(f"expected a value for {config.name}, found null")
        configs[config.name] = config.value
    found.replace(configs, validate_only=validate_only)
