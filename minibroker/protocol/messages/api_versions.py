"""ApiVersions (18): which APIs and versions the broker serves; the first thing most clients ask.

- v1 adds the throttle time (v2: the broker answers before it throttles).
- v3 is flexible and names the client's software (KIP-511); the response brings features as tagged fields (KIP-584).
- v4 lets a feature's minimum version be 0 (KAFKA-17011).

The response header has no tagged fields in any version. A version the broker does not serve is answered in the layout
of v0, with UNSUPPORTED_VERSION and the versions of ApiVersions itself, so that the client can try again (KIP-511).
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, array, boolean, int16, int32, int64, string


@attrs.define(kw_only=True)
class ApiVersionsRequest(Request["ApiVersionsResponse"]):
    """Asks for the versions the broker serves."""

    client_software_name: str = string("3+", ignorable=True)
    client_software_version: str = string("3+", ignorable=True)


@attrs.define(kw_only=True)
class ApiVersion:
    """One API and the versions of it that are served, both ends inclusive."""

    api_key: int = int16()
    min_version: int = int16()
    max_version: int = int16()


@attrs.define(kw_only=True)
class SupportedFeatureKey:
    """A feature this broker could run with."""

    name: str = string()
    min_version: int = int16()
    max_version: int = int16()


@attrs.define(kw_only=True)
class FinalizedFeatureKey:
    """A feature level the whole cluster has agreed on."""

    name: str = string()
    max_version_level: int = int16()
    min_version_level: int = int16()


@attrs.define(kw_only=True)
class ApiVersionsResponse(Response):
    """Lists every API the broker serves."""

    error_code: int = int16()
    api_keys: list[ApiVersion] = array(ApiVersion)
    throttle_time_ms: int = int32("1+", ignorable=True)
    supported_features: list[SupportedFeatureKey] = array(SupportedFeatureKey, "3+", tag=0, ignorable=True)
    finalized_features_epoch: int = int64("3+", tag=1, ignorable=True, default=-1)
    finalized_features: list[FinalizedFeatureKey] = array(FinalizedFeatureKey, "3+", tag=2, ignorable=True)
    zk_migration_ready: bool = boolean("3+", tag=3, ignorable=True)
