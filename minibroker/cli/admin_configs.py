"""`minibroker admin configs`: show, set and unset the settings of a topic or a broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import attrs
from cyclopts import Parameter

from minibroker.cli.administering import TopicOption, administer, assignments
from minibroker.cli.options import DEFAULT_BROKER, BrokerOption, JsonOption, program
from minibroker.cli.problems import CommandError
from minibroker.cli.tables import show

app = program(None, "Show, set and unset the settings of a topic or a broker.")

NodeOption = Annotated[int | None, Parameter(alias="-n", help="The broker of this node id.")]


@attrs.frozen(kw_only=True)
class ConfigRow:
    """A setting, and where its value comes from."""

    name: str
    value: str | None
    source: str
    read_only: bool


@attrs.frozen(kw_only=True)
class ExplainedConfigRow(ConfigRow):
    """The same with its documentation."""

    documentation: str | None


@app.command(name="show")
async def show_configs(
    *,
    topic: TopicOption = None,
    node: NodeOption = None,
    all: Annotated[  # noqa: A002  # the flag's name
        bool, Parameter(alias="-a", help="Those at their defaults too.")
    ] = False,
    explain: Annotated[bool, Parameter(help="With what each is for.")] = False,
    broker: BrokerOption = DEFAULT_BROKER,
    json: JsonOption = False,
) -> None:
    """Show the settings of a topic or a broker."""
    _one_of(topic, node)
    async with administer(broker) as admin:
        entries = await (admin.broker_configs(node or 0) if topic is None else admin.topic_configs(topic))
    rows = [
        ExplainedConfigRow(
            name=entry.name,
            value="(hidden)" if entry.sensitive else entry.value,
            source=entry.source.name.lower().replace("_", " "),
            read_only=entry.read_only,
            documentation=entry.documentation,
        )
        for entry in entries.values()
        if all or not entry.is_default
    ]
    show(ExplainedConfigRow if explain else ConfigRow, rows, as_json=json)


@app.command(name="set")
async def set_configs(
    config: str,
    /,
    *configs: str,
    topic: TopicOption = None,
    node: NodeOption = None,
    broker: BrokerOption = DEFAULT_BROKER,
) -> None:
    """Set settings, each KEY=VALUE."""
    await _alter(broker, topic, node, assignments("configs set", (config, *configs)))


@app.command
async def unset(
    name: str,
    /,
    *names: str,
    topic: TopicOption = None,
    node: NodeOption = None,
    broker: BrokerOption = DEFAULT_BROKER,
) -> None:
    """Go back to the defaults of these settings."""
    await _alter(broker, topic, node, dict.fromkeys((name, *names)))


async def _alter(broker: str, topic: str | None, node: int | None, changes: Mapping[str, str | None]) -> None:
    _one_of(topic, node)
    async with administer(broker) as admin:
        if topic is not None:
            await admin.alter_topic_configs(topic, changes)
        else:
            await admin.alter_broker_configs(node or 0, changes)


def _one_of(topic: str | None, node: int | None) -> None:
    if (topic is None) == (node is None):
        found = "neither" if topic is None else "both"
        raise CommandError(f"expected --topic or --node to say whose settings, found {found}")
