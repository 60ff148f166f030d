"""DeleteGroups (42), versions 0-2: groups without members, and all they have committed, are deleted (KIP-229)."""

from __future__ import annotations

from minibroker.coordinator.group_coordinator import GroupCoordinator
from minibroker.handlers.context import Reply, RequestContext
from minibroker.handlers.turns import Steps, answer_in_turns
from minibroker.protocol.errors import ErrorCode, KafkaError
from minibroker.protocol.messages.delete_groups import (
    DeletableGroupResult,
    DeleteGroupsRequest,
    DeleteGroupsResponse,
)


def handle(request: DeleteGroupsRequest, context: RequestContext) -> Reply:
    """Delete the groups that can be deleted. A group that is named twice is deleted, and told of, once."""
    services = context.services
    response = DeleteGroupsResponse()
    steps = _delete_all(request, response, services.coordinator)
    return answer_in_turns(steps, response, services.coordinator.topic.last_ticket, services, services.long_answers)


def _delete_all(request: DeleteGroupsRequest, response: DeleteGroupsResponse, coordinator: GroupCoordinator) -> Steps:
    for group_id in dict.fromkeys(request.groups_names):
        code = ErrorCode.NONE
        try:
            yield from coordinator.deleting_group(group_id)
        except KafkaError as error:
            code = error.code
        response.results.append(DeletableGroupResult(group_id=group_id, error_code=code))
