"""IncrementalAlterConfigs (44): changes single settings of a topic or broker (KIP-339).

v1 is flexible.
"""

from __future__ import annotations

import attrs

from minibroker.protocol.messages.alter_configs import AlterConfigsResourceResponse
from minibroker.protocol.schema import Request, Response, array, boolean, int8, int32, string


@attrs.define(kw_only=True)
class AlterableConfig:
    """A change: set (0), delete (1), append to (2) or subtract from (3) a list."""

    name: str = string()
    config_operation: int = int8()
    value: str | None = string(nullable="0+")


@attrs.define(kw_only=True)
class AlterConfigsResource:
    """The changes to one resource."""

    resource_type: int = int8()
    resource_name: str = string()
    configs: list[AlterableConfig] = array(AlterableConfig)


@attrs.define(kw_only=True)
class IncrementalAlterConfigsRequest(Request["IncrementalAlterConfigsResponse"]):
    """Asks for changes, or only whether they could be made."""

    resources: list[AlterConfigsResource] = array(AlterConfigsResource)
    validate_only: bool = boolean()


@attrs.define(kw_only=True)
class IncrementalAlterConfigsResponse(Response):
    """Tells for each resource whether it was changed."""

    throttle_time_ms: int = int32()
    responses: list[AlterConfigsResourceResponse] = array(AlterConfigsResourceResponse)
