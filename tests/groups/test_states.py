"""The table of states, and the picture drawn from it."""

import re
from pathlib import Path

import pytest

from minibroker.groups.classic import ClassicGroup
from minibroker.groups.states import COMMIT_ANSWERS, HEARTBEAT_ANSWERS, TRANSITIONS, Event, State, diagram
from tests.groups.driver import NO_DELAY

DOCS = Path(__file__).parents[2] / "docs" / "groups.md"


@pytest.mark.parametrize(("before", "event"), [(state, event) for state in State for event in Event])
def test_events_lead_where_the_table_says(before: State, event: Event) -> None:
    """A group goes where the table says, and an event that is not in the table is an error."""
    group = ClassicGroup("g", NO_DELAY, state=before)
    if (before, event) in TRANSITIONS:
        group.happens(event)
        assert group.state is TRANSITIONS[before, event]
    else:
        with pytest.raises(KeyError):
            group.happens(event)
        assert group.state is before


def test_nothing_happens_to_the_dead() -> None:
    """Dead is final, and every other state can be left."""
    left = {before for before, _ in TRANSITIONS}
    assert left == set(State) - {State.DEAD}


def test_every_state_has_its_answers() -> None:
    """Heartbeats and commits are answered in every state."""
    assert set(HEARTBEAT_ANSWERS) == set(COMMIT_ANSWERS) == set(State)


def test_the_docs_show_the_table() -> None:
    """The diagram in the docs is the one the table draws; on failure, paste the printed one."""
    (shown,) = re.findall(r"```mermaid\n(stateDiagram.*?)\n```", DOCS.read_text(), re.DOTALL)
    assert shown == diagram()
