"""`minibroker produce`: the flags, and what they mean for each line of input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter

from minibroker.cli.formats import unescape
from minibroker.cli.jsonlines import InputRecord, record_from_json
from minibroker.cli.options import DEFAULT_BROKER, BrokerOption, program
from minibroker.cli.problems import CommandError

app = program(
    "minibroker produce", "Send records to a topic: the messages given, or the lines of a file, or of standard input."
)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ProduceOptions:
    """What to send and how."""

    broker: BrokerOption = DEFAULT_BROKER
    file: Annotated[Path | None, Parameter(alias="-f", help="Send the lines of this file.")] = None
    key: Annotated[str | None, Parameter(alias="-k", help="The key of every record.")] = None
    key_separator: Annotated[
        str | None, Parameter(alias="-K", help="What separates key and value in a line; a line without it has no key.")
    ] = None
    header: Annotated[
        tuple[str, ...], Parameter(alias="-H", help="A header NAME=VALUE of every record; may be repeated.")
    ] = ()
    partition: Annotated[int | None, Parameter(alias="-p", help="The partition; by default the key decides.")] = None
    compression: Annotated[
        Literal["none", "gzip", "snappy", "lz4", "zstd"], Parameter(alias="-z", help="The codec.")
    ] = "none"
    acks: Annotated[
        Literal["0", "1", "all"],
        Parameter(help="When a record counts as sent: never checked, written, or safe on disk."),
    ] = "all"
    null: Annotated[
        str | None, Parameter(help="A value or key that is this text is sent as null; --null '' makes empty ones null.")
    ] = None
    delimiter: Annotated[str, Parameter(alias="-D", help="What ends a line of input.")] = r"\n"
    json: Annotated[bool, Parameter(alias="-J", help="Lines are JSON as `consume --json` prints them.")] = False
    linger_ms: Annotated[float, Parameter(help="How long a batch of records waits for more.")] = 5
    quiet: Annotated[bool, Parameter(alias="-q", help="No summary, no progress bar.")] = False


@app.default
def produce(topic: str, /, *messages: str, options: ProduceOptions = ProduceOptions()) -> int:  # frozen
    """Send records to TOPIC.

    Parameters
    ----------
    topic
        The topic; it is created if the broker allows that.
    messages
        The values to send. Without any, and without --file, lines of standard input are.
    """
    if messages and options.file is not None:
        raise CommandError("expected messages or --file, found both")
    read = record_reader(options)  # complains about flags before anything is sent
    import trio

    from minibroker.cli.lines import Input
    from minibroker.cli.sending import run_sending

    delimiter = unescape("--delimiter", options.delimiter)
    if not delimiter:
        raise CommandError("--delimiter expects at least one character, found none")
    source = Input(messages=tuple(map(os.fsencode, messages)), path=options.file, delimiter=delimiter)
    if source.is_terminal and not options.quiet:
        print("Type one record per line; end with Ctrl-D.", file=sys.stderr)
    return trio.run(run_sending, topic, source, read, options)


def record_reader(options: ProduceOptions) -> Callable[[bytes], InputRecord]:
    """What makes a record of a line, as the flags say; raises CommandError for flags that contradict each other."""
    headers = tuple(_header(text) for text in options.header)
    null = None if options.null is None else os.fsencode(options.null)
    key = None if options.key is None else _nullable(os.fsencode(options.key), null)
    if options.json:
        if options.key_separator is not None:
            raise CommandError("--json lines carry their own keys: expected no --key-separator")
        return _json_reader(key, headers, options.partition)
    if options.key_separator is None:
        return lambda line: InputRecord(_nullable(line, null), key, headers, None, options.partition)
    separator = unescape("--key-separator", options.key_separator)
    if not separator:
        raise CommandError("--key-separator expects at least one character, found none")

    def with_key(line: bytes) -> InputRecord:
        before, found, after = line.partition(separator)
        if not found:
            return InputRecord(_nullable(line, null), key, headers, None, options.partition)
        return InputRecord(_nullable(after, null), _nullable(before, null), headers, None, options.partition)

    return with_key


def _json_reader(
    key: bytes | None, headers: tuple[tuple[str, bytes | None], ...], partition: int | None
) -> Callable[[bytes], InputRecord]:
    def read(line: bytes) -> InputRecord:
        record = record_from_json(line)
        return record._replace(
            key=record.key if key is None else key,
            headers=record.headers + headers,
            partition=record.partition if partition is None else partition,
        )

    return read


def _nullable(data: bytes, null: bytes | None) -> bytes | None:
    return None if data == null else data


def _header(text: str) -> tuple[str, bytes | None]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandError(f"--header expects NAME=VALUE, found {text!r}")
    return name, os.fsencode(value)
