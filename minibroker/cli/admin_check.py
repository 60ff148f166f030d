"""`minibroker admin check`: can all that the brokers hold be read, and is it whole?"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Collection, Iterator

import attrs

from minibroker.cli import FAILURE, SUCCESS
from minibroker.cli.administering import administer
from minibroker.cli.options import DEFAULT_BROKER, BrokerOption, JsonOption
from minibroker.cli.progress import Meter
from minibroker.cli.tables import show, show_json
from minibroker.cli.words import counted
from minibroker.client.admin import Admin
from minibroker.client.metadata import TopicPartition
from minibroker.client.verification import PartitionCheck
from minibroker.protocol.errors import GroupIdNotFound, error_for

CLEANUP_POLICY, COMPACT = "cleanup.policy", "compact"


@attrs.frozen(kw_only=True)
class CheckedPartition:
    """What was read of a partition."""

    partition: str
    batches: int
    records: int
    bytes: int
    begin: int
    end: int
    verdict: str


@attrs.frozen(kw_only=True)
class Findings:
    """All of it: what was read, and a line for each thing that is wrong."""

    partitions: list[CheckedPartition]
    problems: list[str]


async def check(*topics: str, broker: BrokerOption = DEFAULT_BROKER, json: JsonOption = False) -> int:
    """Read every record of TOPICS, or of all topics, and say what is damaged, missing or out of reach. Changes nothing.

    With no topics it looks at the data directories and at the groups' committed offsets as well. The status is 1 if
    anything is wrong. `minibroker check DIRECTORY` does it for a broker that is not running.
    """
    async with administer(broker) as admin:
        with Meter(quiet=json) as meter:
            checks = [found async for found in _check_topics(admin, topics, meter)]
        problems = [line for found in checks for line in _explained(found)]
        if not topics:
            problems += [line async for line in _look_at_directories(admin)]
            problems += [line async for line in _look_at_groups(admin)]
    findings = Findings(partitions=list(map(_row, checks)), problems=problems)
    if json:
        show_json(findings)
    else:
        show(CheckedPartition, findings.partitions, as_json=False)
        for line in problems:
            print(line)
        verdict = counted(len(problems), "problem") if problems else "nothing is wrong"
        print(f"{counted(len(checks), 'partition')}, {meter.speed()}: {verdict}", file=sys.stderr)
    return FAILURE if problems else SUCCESS


async def _check_topics(admin: Admin, names: Collection[str], meter: Meter) -> AsyncIterator[PartitionCheck]:
    infos = await (admin.describe_topics(names) if names else admin.list_topics(internal=True))
    for name, info in infos.items():
        if info.error_code:
            yield PartitionCheck(partition=TopicPartition(name, -1), error=str(error_for(info.error_code)))
            continue
        policy = (await admin.topic_configs(name))[CLEANUP_POLICY].value or ""
        for index in info.partitions:
            yield await admin.check(TopicPartition(name, index), gaps_allowed=COMPACT in policy, advance=meter.advance)


def _row(found: PartitionCheck) -> CheckedPartition:
    return CheckedPartition(
        partition=str(found.partition),
        batches=found.batches,
        records=found.records,
        bytes=found.size_bytes,
        begin=found.begin,
        end=found.end,
        verdict="good" if found.is_good else "damaged" if found.bad else "not read",
    )


def _explained(found: PartitionCheck) -> Iterator[str]:
    for bad in found.bad:
        yield f"{found.partition}: {bad}"
    if found.error:
        yield f"{found.partition}: not read to its end: {found.error}"


async def _look_at_directories(admin: Admin) -> AsyncIterator[str]:
    for directory in await admin.log_directories():
        if directory.error_code:
            yield f"broker {directory.broker_id}: {directory.path}: {error_for(directory.error_code)}"


async def _look_at_groups(admin: Admin) -> AsyncIterator[str]:
    """Committed offsets that the partitions do not have: their records were lost, or they were never there."""
    for listing in await admin.list_groups():
        try:
            lags = await admin.group_lag(listing.group)
        except GroupIdNotFound:
            continue  # deleted since it was listed
        for where, lag in lags.items():
            if lag.committed > lag.end:
                yield f"group {listing.group}: offset {lag.committed} is committed for {where}, which ends at {lag.end}"
