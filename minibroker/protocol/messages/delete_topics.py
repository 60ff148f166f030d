"""DeleteTopics (20): deletes topics.

- v3 may answer TOPIC_DELETION_DISABLED. v4 is flexible.
- v5 has error messages and may answer THROTTLING_QUOTA_EXCEEDED (KIP-599).
- v6 names topics by name or by id (KIP-516); until then ``topic_names`` holds plain names.
"""

from __future__ import annotations

from uuid import UUID

import attrs

from minibroker.protocol.schema import Request, Response, array, int16, int32, string, uuid


@attrs.define(kw_only=True)
class DeleteTopicState:
    """A topic by name or, with a null name, by id."""

    name: str | None = string(nullable="0+", default=None)
    topic_id: UUID = uuid()


@attrs.define(kw_only=True)
class DeleteTopicsRequest(Request["DeleteTopicsResponse"]):
    """Asks for topics to be deleted."""

    topics: list[DeleteTopicState] = array(DeleteTopicState, "6+")
    topic_names: list[str] = array(string, "0-5", ignorable=True)
    timeout_ms: int = int32()


@attrs.define(kw_only=True)
class DeletableTopicResult:
    """What became of one topic."""

    name: str | None = string(nullable="6+")
    topic_id: UUID = uuid("6+", ignorable=True)
    error_code: int = int16()
    error_message: str | None = string("5+", nullable="5+", ignorable=True, default=None)


@attrs.define(kw_only=True)
class DeleteTopicsResponse(Response):
    """Tells for each topic whether it was deleted."""

    throttle_time_ms: int = int32()
    responses: list[DeletableTopicResult] = array(DeletableTopicResult)
