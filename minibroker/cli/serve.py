"""`minibroker serve`: its flags, with their help and in every form. `minibroker.cli.serving` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from minibroker.cli.logs import LogLevel
from minibroker.cli.options import program

app = program("minibroker serve", "Run a broker, until Ctrl-C or SIGTERM.")

Listen = Annotated[
    tuple[str, ...],
    Parameter(
        alias="-l",
        negative=(),
        help="Listen on HOST:PORT; may be repeated. An empty host is every interface. "
        "(`listeners`; by default 127.0.0.1:9092)",
    ),
]
Advertise = Annotated[
    str | None,
    Parameter(
        alias="-a",
        help="Tell clients to connect to HOST:PORT, if that is not where it listens. (`advertised.listeners`)",
    ),
]
DataDirectory = Annotated[str | None, Parameter(alias="-d", help="The data directory. (`log.dirs`; by default data)")]
Config = Annotated[Path | None, Parameter(alias="-c", help="A TOML file of settings.")]
Set = Annotated[tuple[str, ...], Parameter(alias="-s", help="A setting KEY=VALUE; may be repeated.")]
Level = Annotated[LogLevel, Parameter(help="The least that is logged, on standard error.")]


@app.default
def serve(
    *,
    listen: Listen = (),
    advertise: Advertise = None,
    data_dir: DataDirectory = None,
    config: Config = None,
    set: Set = (),  # noqa: A002  # the flag's name
    log_level: Level = "info",
) -> None:
    """Run a broker. Its settings have Kafka's names; docs/configuration.md lists them.

    Each flag wins over --set, --set over the environment (MINIBROKER_…), the environment over the file.
    """
    from minibroker.cli import serving

    serving.serve(
        serving.ServeOptions(
            listen=listen, advertise=advertise, data_dir=data_dir, config=config, set=set, log_level=log_level
        )
    )
