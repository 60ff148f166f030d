"""Where the broker's settings come from: a TOML file, the environment, flags. The later of these wins.

Each value keeps its origin until it is structured, so that an error can say which line of whose to mend.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from minibroker.config.errors import ConfigError
from minibroker.config.setting import Setting, attribute_name, kafka_name
from minibroker.config.settings import BrokerSettings, broker_setting, broker_settings

_PREFIX: Final = "MINIBROKER_"
_CLIENTS_OWN: Final = "MINIBROKER_BROKER"  # where our client programs find a broker, no setting of one
# Kubernetes tells every container of a service called "minibroker" in variables like these, which are not meant for us.
_KUBERNETES: Final = re.compile(r"MINIBROKER_(SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP).*)?)")


RawValue = str | int | float | bool | Sequence[str]
"""A value as a program gives it: typed, or text as on a command line."""


@attrs.frozen
class WrittenValue:
    """A setting's value as somebody wrote it down somewhere."""

    value: Any
    origin: str
    """Where: "broker.toml: ", "--set num.partitions=4: ". An error begins with it."""
    read: Callable[[Setting, Any], Any] = Setting.from_text
    """Makes a typed value of it; raises ConfigError."""


def load_settings(
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    assignments: Iterable[str] = (),
    **flags: object,
) -> BrokerSettings:
    """The settings of a broker; raises ConfigError, in one line.

    `assignments` are the KEY=VALUE of --set. `flags` are attributes of BrokerSettings that flags of their own have
    set, with typed values; None counts as not given. Flags win over --set, over the environment, over the file.
    """
    raw: dict[str, RawValue | WrittenValue] = {} if config_file is None else dict(from_file(config_file))
    raw |= from_environment(environment or {})
    raw |= from_assignments(assignments)
    for name, value in flags.items():
        if value is not None:
            raw[kafka_name(name)] = WrittenValue(value, "", Setting.checked)
    return structure(raw)


def from_file(path: Path) -> Iterator[tuple[str, WrittenValue]]:
    """The settings in a TOML file: "log.retention.ms" = 1, or log.retention.ms = 1, or ms = 1 under [log.retention]."""
    import tomllib

    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML, found: {error}") from error
    return ((name, WrittenValue(value, f"{path}: ", Setting.from_toml)) for name, value in _flatten(table, ""))


def _flatten(table: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, WrittenValue]]:
    """MINIBROKER_LOG_RETENTION_MS is log.retention.ms; what begins with `minibroker.` does not repeat the word."""
    known = {attribute_name(name).upper(): name for name in broker_settings()}
    for variable, text in environment.items():
        if variable.startswith(_PREFIX) and variable != _CLIENTS_OWN and not _KUBERNETES.fullmatch(variable):
            short = variable.removeprefix(_PREFIX)
            name = known.get(short) or known.get(variable) or kafka_name(short.lower())
            yield name, WrittenValue(text, f"environment variable {variable}: ")


def from_assignments(assignments: Iterable[str]) -> Iterator[tuple[str, WrittenValue]]:
    """The KEY=VALUE of --set."""
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set expects KEY=VALUE, found {assignment!r}")
        yield name.strip(), WrittenValue(text, f"--set {assignment}: ")


def structure(values: Mapping[str, RawValue | WrittenValue]) -> BrokerSettings:
    """BrokerSettings of values by Kafka name; raises ConfigError for the first that is wrong."""
    typed: dict[str, Any] = {}
    for name, value in values.items():
        written = value if isinstance(value, WrittenValue) else _given(value)
        try:
            typed[attribute_name(name)] = written.read(broker_setting(name), written.value)
        except ConfigError as error:
            raise ConfigError(f"{written.origin}{error}") from None
    return BrokerSettings(**typed, explicit=frozenset(values))


def _given(value: RawValue) -> WrittenValue:
    if isinstance(value, str):
        return WrittenValue(value, "")
    return WrittenValue(list(value) if isinstance(value, Sequence) else value, "", Setting.from_toml)
