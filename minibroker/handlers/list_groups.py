"""ListGroups (16), versions 0-5: all groups, those included that only commit offsets.

v4 filters by state (KIP-518), v5 by type (KIP-848): ours are all classic. Upper and lower case are the same in a filter.
"""

from __future__ import annotations

from typing import Final

from minibroker.groups.machine import GroupMachine
from minibroker.groups.states import State
from minibroker.handlers.context import Reply, RequestContext
from minibroker.handlers.turns import Steps, answer_in_turns
from minibroker.protocol.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse

CLASSIC: Final = "classic"


def handle(request: ListGroupsRequest, context: RequestContext) -> Reply:
    """List the groups that pass the filters. Raises CoordinatorLoadInProgress."""
    services = context.services
    services.coordinator.check_all_available()
    response = ListGroupsResponse()
    steps = _list(request, response, services.coordinator.machine)
    return answer_in_turns(steps, response, services.coordinator.topic.last_ticket, services, services.long_answers)


def _list(request: ListGroupsRequest, response: ListGroupsResponse, machine: GroupMachine) -> Steps:
    """Look at a group a step. Those that come or go meanwhile may be told of or not."""
    states = {state.strip().lower() for state in request.states_filter}
    types = {kind.strip().lower() for kind in request.types_filter}
    if types and CLASSIC not in types:
        return
    yield len(machine.image.groups) + len(machine.image.offsets)
    for group_id in machine.group_ids():
        state = machine.state_of(group_id)
        if state is not State.DEAD and (not states or state.value.lower() in states):
            response.groups.append(
                ListedGroup(
                    group_id=group_id,
                    protocol_type=machine.protocol_type_of(group_id),
                    group_state=state.value,
                    group_type=CLASSIC,
                )
            )
        yield 1
