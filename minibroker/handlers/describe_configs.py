"""DescribeConfigs (32), versions 1-4: every setting of topics and brokers, with its value and where that comes from.

- A topic lists all topic settings, the broker all broker settings, the empty broker name only what was changed for every
  broker. No keys, or an empty list of them, means all settings; unknown keys are passed over.
- v1 tells sources and synonyms (KIP-226), v3 type and documentation (KIP-569).
- A resource that is named twice is answered once, as it was named first. What would make the answer too large is refused
  with POLICY_VIOLATION.
- Loggers (KIP-412) have the levels that are in force.
- `advertised.listeners` is always there as clients are told it; Kafka shows nothing where it is derived from `listeners`.
- Left out: client metrics (KIP-714) and groups (KIP-848), which we do not have.
"""

from __future__ import annotations

from minibroker.config.describe import ConfigEntry
from minibroker.handlers.config_resources import ResourceType, check_broker_name, find_resource
from minibroker.handlers.context import Reply, RequestContext, Services
from minibroker.handlers.loggers import logger_levels
from minibroker.handlers.turns import Room, Steps, answer_in_turns
from minibroker.protocol.errors import KafkaError
from minibroker.protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
)

DYNAMIC_LOGGER_SOURCE = 6
STRING_TYPE = 2
STEPS_PER_SETTING = 10
"""Where each value comes from takes some time to find out."""


def handle(request: DescribeConfigsRequest, context: RequestContext) -> Reply:
    """Describe every resource; one that does not exist is its own matter alone."""
    services = context.services
    results: list[DescribeConfigsResult] = []
    response, ticket = DescribeConfigsResponse(results=results), services.catalog.flush_ticket
    return answer_in_turns(_fill(results, request, services), response, ticket, services, services.long_answers)


def _fill(results: list[DescribeConfigsResult], request: DescribeConfigsRequest, services: Services) -> Steps:
    """Describe a resource a step."""
    room = Room.of(services)
    asked: dict[tuple[int, str], DescribeConfigsResource] = {}
    for resource in request.resources:
        asked.setdefault((resource.resource_type, resource.resource_name), resource)
    for resource in asked.values():
        result = DescribeConfigsResult(resource_type=resource.resource_type, resource_name=resource.resource_name)
        try:
            room.take(1, len(resource.resource_name))
            result.configs = _describe(resource, request, services)
            room.take(len(result.configs), sum(map(_text_bytes, result.configs)))
        except KafkaError as error:
            result.configs = []
            result.error_code = error.code
            result.error_message = error.message
        results.append(result)
        yield 1 + STEPS_PER_SETTING * len(result.configs)


def _text_bytes(config: DescribeConfigsResourceResult) -> int:
    synonyms = sum([len(synonym.name) + len(synonym.value or "") for synonym in config.synonyms])
    return len(config.name) + len(config.value or "") + len(config.documentation or "") + synonyms


def _describe(
    resource: DescribeConfigsResource, request: DescribeConfigsRequest, services: Services
) -> list[DescribeConfigsResourceResult]:
    wanted = frozenset(resource.configuration_keys or ())
    if resource.resource_type == ResourceType.BROKER_LOGGER:
        check_broker_name(resource.resource_name, services)
        return [_logger(name, level) for name, level in logger_levels().items() if not wanted or name in wanted]
    entries = find_resource(resource.resource_type, resource.resource_name, services).describe()
    return [_setting(entry, request) for entry in entries if not wanted or entry.name in wanted]


def _setting(entry: ConfigEntry, request: DescribeConfigsRequest) -> DescribeConfigsResourceResult:
    return DescribeConfigsResourceResult(
        name=entry.name,
        value=None if entry.sensitive else entry.value,
        read_only=entry.read_only,
        config_source=entry.source,
        is_sensitive=entry.sensitive,
        synonyms=[
            DescribeConfigsSynonym(name=synonym.name, value=synonym.value, source=synonym.source)
            for synonym in entry.synonyms
        ]
        if request.include_synonyms
        else [],
        config_type=entry.kind,
        documentation=entry.documentation if request.include_documentation else None,
    )


def _logger(name: str, level: str) -> DescribeConfigsResourceResult:
    return DescribeConfigsResourceResult(
        name=name, value=level, config_source=DYNAMIC_LOGGER_SOURCE, config_type=STRING_TYPE, documentation=None
    )
