"""DescribeGroups (15), versions 0-6: groups with their members.

- A group without members is Empty. One that is not there is Dead up to v5, and GROUP_ID_NOT_FOUND from v6 on (KIP-1043).
- Protocol and metadata are told of stable groups only.
- A group that is named twice is answered once. What would make the answer too large is refused: to be asked for again,
  by itself.
- v3 adds authorized operations (KIP-430), v4 instance ids (KIP-345).
"""

from __future__ import annotations

from typing import Final

from minibroker.coordinator.group_coordinator import GroupCoordinator
from minibroker.groups.classic import ClassicGroup
from minibroker.groups.states import State
from minibroker.handlers.authorized import GROUP_OPERATIONS
from minibroker.handlers.context import Reply, RequestContext
from minibroker.handlers.turns import Room, Steps, answer_in_turns, code_of_rest
from minibroker.protocol.errors import GroupIdNotFound, KafkaError
from minibroker.protocol.messages.describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)
from minibroker.protocol.schema import OPERATIONS_OMITTED

NOT_FOUND_FROM: Final = 6


def handle(request: DescribeGroupsRequest, context: RequestContext) -> Reply:
    """Describe the groups, in the order in which they are asked for."""
    services = context.services
    groups: list[DescribedGroup] = []
    response, ticket = DescribeGroupsResponse(groups=groups), services.coordinator.topic.last_ticket
    return answer_in_turns(_fill(groups, request, context), response, ticket, services, services.long_answers)


def _fill(groups: list[DescribedGroup], request: DescribeGroupsRequest, context: RequestContext) -> Steps:
    """Describe a group a step."""
    room = Room.of(context.services)
    for group_id in dict.fromkeys(request.groups):
        try:
            described = _describe(group_id, context.services.coordinator, context.version, room)
            described.authorized_operations = (
                GROUP_OPERATIONS if request.include_authorized_operations else OPERATIONS_OMITTED
            )
        except KafkaError as error:
            code = code_of_rest(error, groups)
            described = DescribedGroup(group_id=group_id, error_code=code, group_state=State.DEAD.value)
            described.error_message = error.message if context.version >= NOT_FOUND_FROM else None
        groups.append(described)
        yield 1 + len(described.members)


def _describe(group_id: str, coordinator: GroupCoordinator, version: int, room: Room) -> DescribedGroup:
    room.take(1, len(group_id))
    coordinator.check_available(group_id)
    machine = coordinator.machine
    state = machine.state_of(group_id)
    if state is State.DEAD and version >= NOT_FOUND_FROM:
        raise GroupIdNotFound(f"Group {group_id} not found.")
    group = machine.live.get(group_id)
    stable = state is State.STABLE
    return DescribedGroup(
        group_id=group_id,
        group_state=state.value,
        protocol_type=machine.protocol_type_of(group_id),
        protocol_data=(group.protocol or "") if group is not None and stable else "",
        members=[] if group is None else _members(group, stable, room),
    )


def _members(group: ClassicGroup, stable: bool, room: Room) -> list[DescribedGroupMember]:
    members = [
        DescribedGroupMember(
            member_id=member.member_id,
            group_instance_id=member.instance_id,
            client_id=member.client_id,
            client_host=member.client_host,
            member_metadata=member.metadata_for(group.protocol) if stable else b"",
            member_assignment=member.assignment,
        )
        for member in group.members.values()
    ]
    room.take(len(members), sum([len(member.member_metadata) + len(member.member_assignment) for member in members]))
    return members
