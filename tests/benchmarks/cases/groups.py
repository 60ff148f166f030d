"""Committed offsets."""

from __future__ import annotations

from typing import Final

from minibroker.load.wire import Wire
from minibroker.protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tests.benchmarks.case import KAFKA, KAFKA_SYNCED, OURS, SYNCED, Bench, Case, Sample, Turn
from tests.benchmarks.loads.commits import CommitSpec, find_coordinator
from tests.benchmarks.processes import BenchmarkError, run_load

GROUPS: Final = 200
OFFSETS_TOPIC: Final = "__consumer_offsets"
_TOPIC_RESOURCE: Final = 2
_SET: Final = 0
_DELETE: Final = 1


def commit_turn(side: str) -> Turn:
    """200 groups, each with one commit on its way."""

    def turn(bench: Bench) -> Sample:
        broker = bench.broker(side)
        with bench.topic(broker) as topic:
            if side != OURS:
                find_coordinator(broker.address, topic, topic)  # makes the topic of the offsets
                _sync_offsets(broker.address, side == KAFKA_SYNCED)
            load = CommitSpec(address=broker.address, topic=topic, groups=GROUPS, span=bench.span(), pid=broker.pid)
            return run_load("commits", load)

    return turn


def _sync_offsets(address: str, on: bool) -> None:
    """Have Kafka sync what it commits, as ours does, or not."""
    ((name, value),) = SYNCED.items()
    config = AlterableConfig(name=name, config_operation=_SET if on else _DELETE, value=value if on else None)
    resource = AlterConfigsResource(resource_type=_TOPIC_RESOURCE, resource_name=OFFSETS_TOPIC, configs=[config])
    with Wire(address) as wire:
        answer = wire.ask(IncrementalAlterConfigsRequest(resources=[resource]), 0)
    if answer.responses[0].error_code:
        raise BenchmarkError(f"{OFFSETS_TOPIC} cannot be told to sync: {answer.responses[0].error_message}")


CASES: Final = (
    Case(
        name="offset-commits",
        work="offset commits, 200 groups",
        sides={side: commit_turn(side) for side in (OURS, KAFKA_SYNCED, KAFKA)},
    ),
)
