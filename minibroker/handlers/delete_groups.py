"""DeleteGroups (42), versions 0-2: groups without members, and all they have committed, are deleted (KIP-229)."""

from __future__ import annotations

from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.delete_groups import (
    DeletableGroupResult,
    DeleteGroupsRequest,
    DeleteGroupsResponse,
)


def handle(request: DeleteGroupsRequest, context: RequestContext) -> AfterFlush:
    """Delete the groups that can be deleted. A group that is named twice is deleted, and told of, once."""
    coordinator = context.services.coordinator
    response = DeleteGroupsResponse()
    for group_id in dict.fromkeys(request.groups_names):
        code = ErrorCode.NONE
        try:
            coordinator.delete_group(group_id)
        except KafkaError as error:
            code = error.code
        response.results.append(DeletableGroupResult(group_id=group_id, error_code=code))
    return AfterFlush(response, coordinator.topic.last_ticket())
