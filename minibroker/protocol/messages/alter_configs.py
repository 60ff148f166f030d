"""AlterConfigs (33): replaces all settings of a topic or broker by the ones given; what is not named is reset.

Superseded by IncrementalAlterConfigs (KIP-339), but older tools still use it. v2 is flexible.
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, boolean, int8, int16, int32, string


@attrs.define(kw_only=True)
class AlterableConfig:
    """A setting; null stands for its default."""

    name: str = string()
    value: str | None = string(nullable="0+")


@attrs.define(kw_only=True)
class AlterConfigsResource:
    """All the settings a resource shall have."""

    resource_type: int = int8()
    resource_name: str = string()
    configs: list[AlterableConfig] = array(AlterableConfig)


@attrs.define(kw_only=True)
class AlterConfigsRequest(Request["AlterConfigsResponse"]):
    """Asks for settings to be replaced, or only whether they could be."""

    resources: list[AlterConfigsResource] = array(AlterConfigsResource)
    validate_only: bool = boolean()


@attrs.define(kw_only=True)
class AlterConfigsResourceResponse:
    """What became of one resource."""

    error_code: int = int16()
    error_message: str | None = string(nullable="0+", default=None)
    resource_type: int = int8()
    resource_name: str = string()


@attrs.define(kw_only=True)
class AlterConfigsResponse(Response):
    """Tells for each resource whether it was changed."""

    throttle_time_ms: int = int32()
    responses: list[AlterConfigsResourceResponse] = array(AlterConfigsResourceResponse)
