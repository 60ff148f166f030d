"""`minibroker admin group NAME`: show one group, move or delete its offsets, delete it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import attrs
import trio
from cyclopts import Parameter

from minibroker.cli import FAILURE
from minibroker.cli.admin_groups import IntervalOption, WatchOption, show_looks
from minibroker.cli.administering import PartitionsOption, administer, shifted_offsets, target_offsets
from minibroker.cli.options import DEFAULT_BROKER, BrokerOption, JsonOption
from minibroker.cli.positions import parse_start
from minibroker.cli.problems import CommandError
from minibroker.cli.tables import show
from minibroker.cli.words import counted
from minibroker.client.admin import Admin
from minibroker.client.consumer import Consumer
from minibroker.client.descriptions import PartitionLag
from minibroker.client.metadata import TopicPartition
from minibroker.client.partition_state import Seek
from minibroker.protocol.errors import GroupIdNotFound

FIRST_RECORDS_PATIENCE_S = 2.0


@attrs.frozen(kw_only=True)
class LagRow:
    """Where a group stands in a partition. `age_s`: seconds since the oldest record that it has not committed."""

    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int | None
    age_s: float | None
    member: str | None
    client_id: str | None
    host: str | None


@attrs.frozen(kw_only=True)
class MoveRow:
    """What a reset does to a partition."""

    topic: str
    partition: int
    committed: int | None
    new: int


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ResetOptions:
    """Flags of `reset`; --topic and --partition also of `delete-offsets`."""

    to: Annotated[
        str | None, Parameter(help="reset: to beginning, end, an offset, the last -N, or a time like 2026-01-31T12:00.")
    ] = None
    shift: Annotated[int | None, Parameter(help="reset: by so many offsets, back if negative.")] = None
    topic: Annotated[tuple[str, ...], Parameter(alias="-t", help="Only this topic; may be repeated.")] = ()
    partition: PartitionsOption = ()
    execute: Annotated[bool, Parameter(help="reset: really do it, not only show it.")] = False


async def group(
    name: str,
    action: Literal["show", "reset", "delete", "delete-offsets"] = "show",
    /,
    *,
    options: ResetOptions = ResetOptions(),  # frozen
    watch: WatchOption = False,
    interval: IntervalOption = 2.0,
    broker: BrokerOption = DEFAULT_BROKER,
    json: JsonOption = False,
) -> None:
    """Show the group NAME partition by partition, or do ACTION: reset, delete or delete-offsets.

    A reset is only shown unless --execute is given. While members use it, a group cannot be changed.
    """
    start = _start(options) if action == "reset" else None
    async with administer(broker) as admin:
        match action:
            case "show":
                await show_looks(lambda: _look(admin, broker, name), watch=watch, interval_s=interval, as_json=json)
            case "reset":
                await _reset(admin, name, options, start, as_json=json)
            case "delete":
                await _refuse_if_live(admin, name, action)
                await admin.delete_group(name)
            case "delete-offsets":
                await _delete_offsets(admin, name, options)


async def _look(admin: Admin, broker: str, name: str) -> tuple[str, type, Sequence[LagRow]]:
    described = await admin.describe_group(name)
    lags = await admin.group_lag(name)
    ages = await _ages_s(broker, lags)
    headline = (
        f"group {name}: {described.state}, {described.protocol or described.protocol_type or 'no protocol'}, "
        f"{counted(len(described.members), 'member')}, coordinator {described.coordinator_id}, "
        f"total lag {sum(lag.lag or 0 for lag in lags.values()):,}"
    )
    rows = [
        LagRow(
            topic=where.topic,
            partition=where.partition,
            committed=None if lag.committed < 0 else lag.committed,
            end=lag.end,
            lag=lag.lag,
            age_s=ages.get(where),
            member=lag.member.member_id if lag.member else None,
            client_id=lag.member.client_id if lag.member else None,
            host=lag.member.client_host.removeprefix("/") if lag.member else None,
        )
        for where, lag in lags.items()
    ]
    return headline, LagRow, rows


async def _ages_s(broker: str, lags: Mapping[TopicPartition, PartitionLag]) -> dict[TopicPartition, float]:
    """How old the first record behind each committed offset is. Only reading it can tell."""
    behind = {where: lag.committed for where, lag in lags.items() if lag.lag}
    ages: dict[TopicPartition, float] = {}
    if not behind:
        return ages
    now = time.time()
    consumer = Consumer(broker, partitions=behind, max_partition_fetch_bytes=1, auto_offset_reset="earliest")
    with trio.move_on_after(FIRST_RECORDS_PATIENCE_S):
        async with consumer:
            for where, offset in behind.items():
                consumer.seek(where, offset)
            while ages.keys() != behind.keys():
                for batch in await consumer.poll_batches():
                    where = TopicPartition(batch.topic, batch.partition)
                    if where not in ages:
                        ages[where] = round(max(now - batch.records[0].timestamp_ms / 1000, 0), 1)
                        consumer.pause([where])
    return ages


def _start(options: ResetOptions) -> Seek | None:
    """Where a reset goes to; None if it is by --shift. Raises CommandError."""
    if (options.to is None) == (options.shift is None):
        raise CommandError(f"reset expects --to or --shift, found {'neither' if options.to is None else 'both'}")
    return None if options.to is None else parse_start(options.to, "--to")


async def _reset(admin: Admin, name: str, options: ResetOptions, start: Seek | None, *, as_json: bool) -> None:
    await _refuse_if_live(admin, name, "reset")
    committed = await _chosen(admin, name, options)
    if start is not None:
        targets = await target_offsets(admin, committed, start)
    else:
        known = {where: offset for where, offset in committed.items() if offset is not None}
        targets = await shifted_offsets(admin, known, options.shift or 0)
    if options.execute:
        await admin.alter_group_offsets(name, targets)
    rows = [
        MoveRow(topic=where.topic, partition=where.partition, committed=committed[where], new=offset)
        for where, offset in sorted(targets.items())
    ]
    show(MoveRow, rows, as_json=as_json)
    if not options.execute:
        print("Nothing has been changed; --execute does it.", file=sys.stderr)


async def _chosen(admin: Admin, name: str, options: ResetOptions) -> dict[TopicPartition, int | None]:
    """The partitions that a command is about, with what is committed: of the topics named, or all committed ones."""
    committed = {where: found.offset for where, found in (await admin.group_offsets(name)).items()}
    if options.topic:
        infos = await admin.describe_topics(options.topic)
        wanted = [TopicPartition(topic, index) for topic, info in infos.items() for index in info.partitions]
    else:
        wanted = sorted(committed)
    chosen = {where: committed.get(where) for where in wanted if not options.partition or where[1] in options.partition}
    if not chosen:
        raise CommandError(f"group {name!r} has committed nothing there; --topic says what else to set", FAILURE)
    return chosen


async def _delete_offsets(admin: Admin, name: str, options: ResetOptions) -> None:
    if not options.topic:
        raise CommandError("delete-offsets expects --topic, found none")
    committed = await admin.group_offsets(name)
    chosen = await _chosen(admin, name, options)
    await admin.delete_group_offsets(name, [where for where in chosen if where in committed])


async def _refuse_if_live(admin: Admin, name: str, action: str) -> None:
    try:
        described = await admin.describe_group(name)
    except GroupIdNotFound:
        if action != "reset":
            raise
        return  # offsets may be set before the group is ever seen
    if described.members:
        raise CommandError(
            f"group {name!r} has {counted(len(described.members), 'member')}: "
            f"{action} expects a group without, so stop them first",
            FAILURE,
        )
