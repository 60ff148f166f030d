"""Running a broker as a program: its settings, its signals, and the line that says that it runs.

Nothing here needs cyclopts. Flags in their plain form are read by `plain_options`, because a broker has a third of a
second to start and the command line's library would take a tenth of that; everything else is `minibroker.cli.serve`'s.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from minibroker import __version__
from minibroker.cli.logs import LOG_LEVELS, LogLevel, set_up_logging
from minibroker.cli.signals import obey_signals
from minibroker.cli.words import counted, readable_size
from minibroker.config.load import load_settings
from minibroker.config.settings import BrokerSettings
from minibroker.server.broker import RunningBroker
from minibroker.server.broker import serve as run_broker


@attrs.frozen(kw_only=True)
class ServeOptions:
    """The flags of `minibroker serve`."""

    listen: tuple[str, ...] = ()
    advertise: str | None = None
    data_dir: str | None = None
    config: Path | None = None
    set: tuple[str, ...] = ()
    log_level: LogLevel = "info"


_FLAGS: Final = {f"--{field.name.replace('_', '-')}": field for field in attrs.fields(ServeOptions)}


def plain_options(arguments: Sequence[str]) -> ServeOptions | None:
    """The options, if the arguments are nothing but known flags in full, each followed by its value; else None."""
    given: dict[str, Any] = {}
    for flag, value in zip(arguments[::2], [*arguments[1::2], "--"], strict=False):
        if (field := _FLAGS.get(flag)) is None or value.startswith("-"):
            return None
        if field.default == ():
            given[field.name] = (*given.get(field.name, ()), value)
        elif field.name in given:
            return None
        else:
            given[field.name] = value
    if given.get("log_level", "info") not in LOG_LEVELS:
        return None
    if "config" in given:
        given["config"] = Path(given["config"])
    return ServeOptions(**given)


def serve(options: ServeOptions) -> None:
    """Run a broker until it is told to end. Raises ConfigError, StartError, DirectoryError, each one line."""
    settings = load_settings(
        options.config,
        os.environ,
        options.set,
        listeners=options.listen or None,
        advertised_listeners=None if options.advertise is None else (options.advertise,),
        log_dirs=options.data_dir,
    )
    set_up_logging(options.log_level)
    trio.run(_run, settings)


async def _run(settings: BrokerSettings) -> None:
    async with trio.open_nursery() as nursery:
        stopper = Stopper(nursery.cancel_scope)
        await nursery.start(stopper.watch_signals)
        async with trio.open_nursery() as broker_nursery:
            running: RunningBroker = await broker_nursery.start(run_broker, settings)
            stopper.running = running
            print(summary(running, settings), flush=True)
            gc.freeze()  # what the program consists of is never garbage, and need not be looked through for it
            gc.enable()
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Stopper:
    """What a signal does: the first ends the broker in an orderly way, the second at once."""

    starting: trio.CancelScope
    running: RunningBroker | None = None

    async def watch_signals(self, task_status: trio.TaskStatus[None]) -> None:
        """Obey SIGINT and SIGTERM until cancelled."""
        await obey_signals(self._stop, task_status)

    def _stop(self) -> None:
        if self.running is None:
            self.starting.cancel()
        else:
            self.running.stop()


def summary(running: RunningBroker, settings: BrokerSettings) -> str:
    """The one line: where it listens, what it advertises, where its data is, what it found, how long that took."""
    told = ", ".join(dict.fromkeys(f"{endpoint.host}:{endpoint.port}" for endpoint in running.endpoints))
    listening = told
    if settings.advertised_listeners is not None:
        listening = ", ".join(listener.address for listener in settings.listen_addresses())
    topics = [topic for topic in running.services.catalog.topics.values() if not topic.is_internal]
    partitions = [partition for topic in topics for partition in topic.partitions]
    found = "no topics"
    if topics:
        size = readable_size(sum(partition.log.size_bytes for partition in partitions))
        found = f"{counted(len(topics), 'topic')}, {counted(len(partitions), 'partition')}, {size}"
    if not running.data.directory.was_clean:
        read = readable_size(sum(report.read_bytes for report in running.data.reports))
        found += f", recovered after a crash ({read} read)"
    return (
        f"minibroker {__version__} listens on {listening}{'' if told == listening else f', advertises {told}'}; "
        f"data in {settings.log_dirs}: {found}; ready in {running.start_seconds:.2f} s"
    )
