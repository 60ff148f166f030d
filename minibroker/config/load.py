"""Where the broker's settings come from: a TOML file, the environment, flags. The later of these wins.

Each value keeps its origin until it is structured, so that an error can say which line of whose to mend.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from minibroker.config.errors import ConfigError
from minibroker.config.nearest import unknown_setting
from minibroker.config.setting import Setting, attribute_name
from minibroker.config.settings import BrokerSettings, broker_settings
from minibroker.config.values import from_text, from_toml

if TYPE_CHECKING:
    from cattrs import Converter

_PREFIX: Final = "MINIBROKER_"
_CLIENTS_OWN: Final = "MINIBROKER_BROKER"  # where our client programs find a broker, no setting of one
# Kubernetes tells every container of a service called "minibroker" in variables like these, which are not meant for us.
_KUBERNETES: Final = re.compile(r"MINIBROKER_(SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP).*)?)")


RawValue = str | int | float | bool | Sequence[str]
"""A value as a program gives it: typed, or text as on a command line."""


@attrs.frozen
class WrittenValue:
    """A setting's value as somebody wrote it down somewhere."""

    value: object
    origin: str
    """Where: "broker.toml: ", "--set num.partitions=4: ". An error begins with it."""
    read: Callable[[Setting, Any], Any]
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
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    settings = structure(raw)
    return attrs.evolve(settings, **given, explicit=settings.explicit | {name.replace("_", ".") for name in given})


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
    return ((name, WrittenValue(value, f"{path}: ", from_toml)) for name, value in _flatten(table, ""))


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
            name = known.get(short) or known.get(variable) or short.lower().replace("_", ".")
            yield name, WrittenValue(text, f"environment variable {variable}: ", from_text)


def from_assignments(assignments: Iterable[str]) -> Iterator[tuple[str, WrittenValue]]:
    """The KEY=VALUE of --set."""
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set expects KEY=VALUE, found {assignment!r}")
        yield name.strip(), WrittenValue(text, f"--set {assignment}: ", from_text)


def structure(values: Mapping[str, RawValue | WrittenValue]) -> BrokerSettings:
    """BrokerSettings of values by Kafka name; raises ConfigError for the first that is wrong."""
    raw = {name: value if isinstance(value, WrittenValue) else _given(value) for name, value in values.items()}
    if not raw:
        return BrokerSettings()  # the usual start, spared what it takes to load and set up cattrs
    from cattrs.errors import ForbiddenExtraKeysError

    try:
        settings = _converter().structure(raw, BrokerSettings)
    except ForbiddenExtraKeysError as error:
        name = min(error.extra_fields)
        raise ConfigError(f"{raw[name].origin}{unknown_setting(name, broker_settings())}") from None
    return attrs.evolve(settings, explicit=frozenset(raw))


def _given(value: RawValue) -> WrittenValue:
    if isinstance(value, str):
        return WrittenValue(value, "", from_text)
    return WrittenValue(list(value) if isinstance(value, Sequence) else value, "", from_toml)


@cache
def _converter() -> Converter:
    from cattrs import Converter
    from cattrs.gen import make_dict_structure_fn, override

    converter = Converter(detailed_validation=False)  # the first error, raw: our own hooks say all there is to say
    renamed: dict[str, Any] = {
        attribute_name(name): override(rename=name, struct_hook=_reader(setting))
        for name, setting in broker_settings().items()
    }
    hook = make_dict_structure_fn(
        BrokerSettings,
        converter,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=False,
        explicit=override(omit=True),
        **renamed,
    )
    converter.register_structure_hook(BrokerSettings, hook)
    return converter


def _reader(setting: Setting) -> Callable[[WrittenValue, object], Any]:
    def read(raw: WrittenValue, _type: object) -> Any:
        try:
            value = raw.read(setting, raw.value)
            setting.check(value)
        except ConfigError as error:
            raise ConfigError(f"{raw.origin}{error}") from None
        return value

    return read
