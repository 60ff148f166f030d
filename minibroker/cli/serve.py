"""`minibroker serve`: the flags of a broker, its signals, and the line that says that it runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, Parameter

from minibroker import __version__
from minibroker.cli import SUCCESS
from minibroker.cli.logs import LogLevel, set_up_logging
from minibroker.config.load import load_settings
from minibroker.config.settings import BrokerSettings

if TYPE_CHECKING:
    import trio

    from minibroker.server.broker import RunningBroker

app = App(name="minibroker serve", help="Run a broker, until Ctrl-C or SIGTERM.", version_flags=())


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ServeOptions:
    """Where the settings come from. Each flag wins over --set, that over the environment, that over the file."""

    listen: Annotated[
        tuple[str, ...],
        Parameter(
            name=("--listen", "-l"),
            negative=(),
            help="Listen on HOST:PORT; may be repeated. An empty host is every interface. "
            "(`listeners`; by default 127.0.0.1:9092)",
        ),
    ] = ()
    advertise: Annotated[
        str | None,
        Parameter(
            name=("--advertise", "-a"),
            help="Tell clients to connect to HOST:PORT, if that is not where it listens. (`advertised.listeners`)",
        ),
    ] = None
    data_dir: Annotated[
        str | None, Parameter(name=("--data-dir", "-d"), help="The data directory. (`log.dirs`; by default data)")
    ] = None
    config: Annotated[Path | None, Parameter(name=("--config", "-c"), help="A TOML file of settings.")] = None
    set: Annotated[
        tuple[str, ...],
        Parameter(name=("--set", "-s"), negative=(), help="A setting KEY=VALUE; may be repeated."),
    ] = ()
    log_level: Annotated[LogLevel, Parameter(help="The least that is logged, on standard error.")] = "info"


@app.default
def serve(*, options: ServeOptions = ServeOptions()) -> int:  # frozen
    """Run a broker. Its settings have Kafka's names; docs/configuration.md lists them."""
    settings = load_settings(
        options.config,
        os.environ,
        options.set,
        listeners=options.listen or None,
        advertised_listeners=None if options.advertise is None else (options.advertise,),
        log_dirs=options.data_dir,
    )
    set_up_logging(options.log_level)
    import trio

    trio.run(_run, settings)
    return SUCCESS


async def _run(settings: BrokerSettings) -> None:
    import trio

    from minibroker.server.broker import serve as run_broker

    async with trio.open_nursery() as nursery:
        stopper = Stopper(nursery.cancel_scope)
        await nursery.start(stopper.watch_signals)
        async with trio.open_nursery() as broker_nursery:
            running: RunningBroker = await broker_nursery.start(run_broker, settings)
            stopper.running = running
            print(summary(running, settings), flush=True)
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Stopper:
    """What a signal does: the first ends the broker in an orderly way, the second at once."""

    starting: trio.CancelScope
    running: RunningBroker | None = None
    signalled: bool = False

    async def watch_signals(self, task_status: trio.TaskStatus[None]) -> None:
        """Obey SIGINT and SIGTERM until cancelled."""
        import trio

        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                if self.signalled:
                    os._exit(128 + number)
                self.signalled = True
                if self.running is None:
                    self.starting.cancel()
                else:
                    self.running.stop()


def summary(running: RunningBroker, settings: BrokerSettings) -> str:
    """The one line: where it listens, what it advertises, where its data is, what it found, how long that took."""
    from minibroker.cli.progress import counted, readable_size

    listening = [listener.address for listener in settings.listen_addresses()]
    told = [f"{endpoint.host}:{endpoint.port}" for endpoint in running.endpoints]
    advertised = "" if told == listening else f", advertises {', '.join(dict.fromkeys(told))}"
    topics = [topic for topic in running.services.catalog.topics.values() if not topic.is_internal]
    partitions = [partition for topic in topics for partition in topic.partitions]
    size_bytes = sum(partition.log.size_bytes for partition in partitions)
    found = f"{counted(len(topics), 'topic')}, {counted(len(partitions), 'partition')}, {readable_size(size_bytes)}"
    return (
        f"minibroker {__version__} listens on {', '.join(listening)}{advertised}; "
        f"data in {settings.log_dirs}: {found if topics else 'empty'}; ready in {running.start_seconds:.2f} s"
    )
