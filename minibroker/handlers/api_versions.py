"""ApiVersions (18), versions 0-4: which APIs and versions this broker serves.

The answer comes from the registry. A version that we do not know is answered in the layout of v0 with our range of this
one API (KIP-511); the dispatcher sends that. Features (v3, KIP-584) are those of KRaft's metadata, which we do not have:
none are listed.
"""

from __future__ import annotations

import re

from minibroker.handlers.context import RequestContext
from minibroker.handlers.registry import APIS
from minibroker.protocol.api import ApiKey
from minibroker.protocol.errors import ErrorCode, InvalidRequest
from minibroker.protocol.messages.api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse

SOFTWARE_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?")
"""What KIP-511 allows as a client's name and version."""


def handle(request: ApiVersionsRequest, context: RequestContext) -> ApiVersionsResponse:
    """Answer with the registry. Raises InvalidRequest for a client name or version that KIP-511 forbids."""
    if context.version >= 3:
        for value in (request.client_software_name, request.client_software_version):
            if not SOFTWARE_NAME.fullmatch(value):
                raise InvalidRequest(f"expected a client's name and version, found {value!r}")
    return ApiVersionsResponse(
        api_keys=[
            ApiVersion(api_key=api.key, min_version=api.advertised_min_version, max_version=api.max_version)
            for api in APIS
        ],
    )


def unsupported_version() -> ApiVersionsResponse:
    """The answer to an unknown version of this very API, for the layout of v0."""
    own = next(api for api in APIS if api.key == ApiKey.API_VERSIONS)
    return ApiVersionsResponse(
        error_code=ErrorCode.UNSUPPORTED_VERSION,
        api_keys=[ApiVersion(api_key=own.key, min_version=own.min_version, max_version=own.max_version)],
    )
