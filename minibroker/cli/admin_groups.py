"""`minibroker admin groups`: all groups at a glance, once or again and again."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, NoReturn

import attrs
import trio
from cyclopts import Parameter

from minibroker.cli.administering import administer
from minibroker.cli.options import DEFAULT_BROKER, BrokerOption, JsonOption
from minibroker.cli.tables import show, show_json, table_of
from minibroker.client.admin import Admin
from minibroker.protocol.errors import GroupIdNotFound

WatchOption = Annotated[bool, Parameter(alias="-w", help="Show it again and again.")]
IntervalOption = Annotated[float, Parameter(help="Seconds between two looks.")]

Look = Callable[[], Awaitable[tuple[str, type, Sequence[Any]]]]
"""One look: a headline ("" for none), the kind of the rows, the rows."""


@attrs.frozen(kw_only=True)
class GroupRow:
    """A group. The lag is that of all partitions it has committed offsets for."""

    group: str
    state: str
    protocol: str
    members: int
    lag: int


async def groups(
    *,
    watch: WatchOption = False,
    interval: IntervalOption = 2.0,
    broker: BrokerOption = DEFAULT_BROKER,
    json: JsonOption = False,
) -> None:
    """Show all groups: state, assignor, members, and how many records they are behind."""
    async with administer(broker) as admin:
        await show_looks(lambda: _look(admin), watch=watch, interval_s=interval, as_json=json)


async def _look(admin: Admin) -> tuple[str, type, Sequence[GroupRow]]:
    rows = []
    for listing in await admin.list_groups():
        try:
            described = await admin.describe_group(listing.group)
            lags = await admin.group_lag(listing.group)
        except GroupIdNotFound:
            continue  # deleted since it was listed
        rows.append(
            GroupRow(
                group=listing.group,
                state=described.state,
                protocol=described.protocol or described.protocol_type,
                members=len(described.members),
                lag=sum(lag.lag or 0 for lag in lags.values()),
            )
        )
    return "", GroupRow, rows


async def show_looks(look: Look, *, watch: bool, interval_s: float, as_json: bool) -> None:
    """Look once, or until Ctrl-C: on a terminal each look replaces the one before, elsewhere it follows it."""
    if watch and sys.stdout.isatty() and not as_json:
        await _live(look, interval_s)
    _print(*await look(), as_json=as_json)
    while watch:
        await trio.sleep(interval_s)
        _print(*await look(), as_json=as_json)


async def _live(look: Look, interval_s: float) -> NoReturn:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        while True:
            headline, kind, rows = await look()
            live.update(Group(Text(headline), table_of(kind, rows)), refresh=True)
            await trio.sleep(interval_s)


def _print(headline: str, kind: type, rows: Sequence[Any], *, as_json: bool) -> None:
    if as_json:
        show_json(rows)
        sys.stdout.flush()
        return
    if headline:
        print(headline)
    show(kind, rows, as_json=False)
