"""DescribeConfigs (32): shows the settings of topics and brokers, defaults included, with where each comes from.

- v1 tells the source of a value and its synonyms (KIP-226).
- v3 adds type and documentation (KIP-569). v4 is flexible.
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, boolean, int8, int16, int32, string


@attrs.define(kw_only=True)
class DescribeConfigsResource:
    """A topic or broker; null keys mean all settings."""

    resource_type: int = int8()
    resource_name: str = string()
    configuration_keys: list[str] | None = array(string, nullable="0+")


@attrs.define(kw_only=True)
class DescribeConfigsRequest(Request["DescribeConfigsResponse"]):
    """Asks for settings."""

    resources: list[DescribeConfigsResource] = array(DescribeConfigsResource)
    include_synonyms: bool = boolean()
    include_documentation: bool = boolean("3+")


@attrs.define(kw_only=True)
class DescribeConfigsSynonym:
    """A setting from which this one would take its value, and the value there."""

    name: str = string()
    value: str | None = string(nullable="0+")
    source: int = int8()


@attrs.define(kw_only=True)
class DescribeConfigsResourceResult:
    """A setting. A sensitive one has a null value."""

    name: str = string()
    value: str | None = string(nullable="0+")
    read_only: bool = boolean()
    config_source: int = int8(default=-1)
    is_sensitive: bool = boolean()
    synonyms: list[DescribeConfigsSynonym] = array(DescribeConfigsSynonym)
    config_type: int = int8("3+", ignorable=True)
    documentation: str | None = string("3+", nullable="0+", ignorable=True)


@attrs.define(kw_only=True)
class DescribeConfigsResult:
    """The settings of one resource."""

    error_code: int = int16()
    error_message: str | None = string(nullable="0+", default=None)
    resource_type: int = int8()
    resource_name: str = string()
    configs: list[DescribeConfigsResourceResult] = array(DescribeConfigsResourceResult)


@attrs.define(kw_only=True)
class DescribeConfigsResponse(Response):
    """The settings."""

    throttle_time_ms: int = int32()
    results: list[DescribeConfigsResult] = array(DescribeConfigsResult)
