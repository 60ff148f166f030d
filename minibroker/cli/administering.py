"""What the admin commands share: a connected Admin for one piece of work, flags, and offsets said in words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Final

from cyclopts import Parameter

from minibroker.cli.problems import CommandError
from minibroker.cli.reach import look_up
from minibroker.client.admin import Admin
from minibroker.client.metadata import TopicPartition
from minibroker.client.offsets import EARLIEST, LATEST
from minibroker.client.partition_state import Seek, Start

Offsets = Mapping[TopicPartition, int]

PATIENCE_MS: Final = 15_000  # how long a piece of work is tried again while brokers say "not now"

TopicOption = Annotated[str | None, Parameter(alias="-t", help="The topic.")]
PartitionsOption = Annotated[tuple[int, ...], Parameter(alias="-p", help="Only this partition; may be repeated.")]


@asynccontextmanager
async def administer(broker: str) -> AsyncIterator[Admin]:
    """An Admin for one piece of work; raises KafkaError, at once if no broker answers."""
    await look_up(broker)
    async with Admin(broker, api_timeout_ms=PATIENCE_MS) as admin:
        yield admin


def assignments(flag: str, texts: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE, several; raises CommandError."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CommandError(f"{flag} expects KEY=VALUE, found {text!r}")
        pairs[key] = value
    return pairs


async def target_offsets(
    admin: Admin, partitions: Collection[TopicPartition], start: Seek
) -> dict[TopicPartition, int]:
    """The offset that `start` means in each partition, never outside of what the partition holds."""
    begins, ends = await _offsets_at(admin, partitions, EARLIEST), await _offsets_at(admin, partitions, LATEST)
    match start.start:
        case Start.EARLIEST:
            return begins
        case Start.LAST:
            wanted = {where: end - start.value for where, end in ends.items()}
        case Start.OFFSET:
            wanted = dict.fromkeys(partitions, start.value)
        case Start.TIME:
            found = await _offsets_at(admin, partitions, start.value)
            wanted = {where: ends[where] if offset < 0 else offset for where, offset in found.items()}
        case _:
            return ends
    return within(wanted, begins, ends)


async def shifted_offsets(admin: Admin, offsets: Offsets, shift: int) -> dict[TopicPartition, int]:
    """So many offsets further on in each partition, or back; never outside of what the partition holds."""
    begins, ends = await _offsets_at(admin, offsets, EARLIEST), await _offsets_at(admin, offsets, LATEST)
    return within({where: offset + shift for where, offset in offsets.items()}, begins, ends)


def within(wanted: Offsets, begins: Offsets, ends: Offsets) -> dict[TopicPartition, int]:
    """The offsets nearest to the wanted ones that the partitions have."""
    return {where: min(max(offset, begins[where]), ends[where]) for where, offset in wanted.items()}


async def _offsets_at(
    admin: Admin, partitions: Collection[TopicPartition], timestamp_ms: int
) -> dict[TopicPartition, int]:
    if not partitions:
        return {}
    found = await admin.list_offsets(dict.fromkeys(partitions, timestamp_ms))
    return {where: found[where].offset for where in partitions}
