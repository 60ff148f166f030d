"""`minibroker consume`: the flags."""

from __future__ import annotations

import os
from typing import Annotated

import attrs
from cyclopts import Parameter, validators

from minibroker.cli.options import DEFAULT_BROKER, BrokerOption, program
from minibroker.cli.positions import parse_start
from minibroker.cli.printing import (
    STANDARD_OUTPUT,
    Printer,
    format_printer,
    json_printer,
    plain_printer,
    shown_text,
)
from minibroker.cli.problems import CommandError

app = program(
    "minibroker consume",
    "Print the records of topics, from the beginning or any other position, and go on with what comes.",
)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ConsumeOptions:
    """What to read and how to show it."""

    broker: BrokerOption = DEFAULT_BROKER
    start: Annotated[
        str,
        Parameter(
            name=("--from", "-o"),
            help="Where to begin: beginning, end, an offset, -N for the last N of each partition, or a time like "
            "2026-01-31T12:00. In a group, where it has committed nothing yet.",
        ),
    ] = "beginning"
    partition: Annotated[tuple[int, ...], Parameter(alias="-p", help="Only this partition; may be repeated.")] = ()
    exit: Annotated[bool, Parameter(alias="-e", help="Stop at what is the end now, instead of waiting for more.")] = (
        False
    )
    max: Annotated[
        int | None, Parameter(alias="-c", validator=validators.Number(gte=0), help="Stop after so many records.")
    ] = None
    format: Annotated[
        str | None,
        Parameter(
            alias="-f",
            help="%t topic, %p partition, %o offset, %T timestamp, %k key, %K its length, %s value, %S its length, "
            r"%h headers, %% percent; \n and \t.",
        ),
    ] = None
    json: Annotated[bool, Parameter(alias="-J", help="A line of JSON for each record, with all its parts.")] = False
    null: Annotated[str, Parameter(help="What to print for a null key or value.")] = ""
    group: Annotated[
        str | None, Parameter(alias="-g", help="Join this consumer group, and go on where it stopped.")
    ] = None
    group_instance_id: Annotated[
        str | None, Parameter(help="Be this static member of the group, which may be away for a while.")
    ] = None
    session_timeout_ms: Annotated[int, Parameter(help="How long the group waits for a member that has vanished.")] = (
        45_000
    )
    quiet: Annotated[bool, Parameter(alias="-q", help="No summary.")] = False


@app.default
def consume(topic: str, /, *topics: str, options: ConsumeOptions = ConsumeOptions()) -> int:  # frozen
    """Print the records of TOPIC, and of more topics.

    Parameters
    ----------
    topic
        The topic to read.
    topics
        More topics.
    """
    if options.group is None and options.group_instance_id is not None:
        raise CommandError("--group-instance-id expects --group, found none")
    if options.group is not None and options.partition:
        raise CommandError("expected --group or --partition, found both: a group shares out the partitions itself")
    start = parse_start(options.start)
    printer = record_printer(options, on_terminal=os.isatty(STANDARD_OUTPUT))
    import trio

    from minibroker.cli.receiving import run_receiving

    return trio.run(run_receiving, (topic, *topics), start, printer, options)


def record_printer(options: ConsumeOptions, *, on_terminal: bool) -> Printer:
    """What makes bytes of records, as the flags say; raises CommandError for flags that contradict each other."""
    show = shown_text(os.fsencode(options.null), on_terminal=on_terminal)
    if options.json:
        if options.format is not None:
            raise CommandError("expected --json or --format, found both")
        return json_printer
    if options.format is not None:
        return format_printer(options.format, show)
    return plain_printer(show, on_terminal=on_terminal)
