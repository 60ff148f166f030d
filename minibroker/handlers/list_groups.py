"""ListGroups (16), versions 0-5: all groups, those included that only commit offsets.

v4 filters by state (KIP-518), v5 by type (KIP-848): ours are all classic. Upper and lower case are the same in a filter.
"""

from __future__ import annotations

from typing import Final

from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse

CLASSIC: Final = "classic"


def handle(request: ListGroupsRequest, context: RequestContext) -> AfterFlush:
    """List the groups that pass the filters. Raises CoordinatorLoadInProgress."""
    coordinator = context.services.coordinator
    coordinator.check_all_available()
    states = {state.strip().lower() for state in request.states_filter}
    types = {kind.strip().lower() for kind in request.types_filter}
    machine = coordinator.machine
    group_ids = machine.group_ids() if not types or CLASSIC in types else []
    groups = [
        ListedGroup(
            group_id=group_id,
            protocol_type=machine.protocol_type_of(group_id),
            group_state=machine.state_of(group_id).value,
            group_type=CLASSIC,
        )
        for group_id in group_ids
    ]
    listed = [group for group in groups if not states or group.group_state.lower() in states]
    return AfterFlush(ListGroupsResponse(groups=listed), coordinator.topic.last_ticket())
