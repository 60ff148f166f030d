"""`python -m minibroker.config.reference`: the page docs/configuration.md, written from the settings themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from minibroker.config.group_settings import GroupSettings
from minibroker.config.log_settings import LogSettings
from minibroker.config.network_settings import NetworkSettings
from minibroker.config.setting import MAX_INT, MAX_LONG, Setting, settings_of, to_text
from minibroker.config.storage_settings import StorageSettings
from minibroker.config.topic_settings import topic_settings

_HEAD = """\
# Configuration

<!-- Written by `python -m minibroker.config.reference > docs/configuration.md`; a test compares. Do not edit. -->

Settings carry Kafka's own names and, unless the table says so, Kafka's defaults. The broker takes them from the
following, each winning over those before it:

1. a TOML file, `--config broker.toml`;
2. the environment: `MINIBROKER_LOG_RETENTION_MS=60000` is `log.retention.ms`;
3. `--set log.retention.ms=60000`, as often as you like;
4. flags of their own: `--listen` (`listeners`), `--advertise` (`advertised.listeners`), `--data-dir` (`log.dirs`).

In the file a name may be quoted, dotted or nested. These are the same:

```toml
"log.retention.ms" = 60000
```

```toml
[log.retention]
ms = 60000
```

Where one name continues another (`max.connections`, `max.connections.per.ip`), TOML wants the longer one quoted.
Values are typed: `"3"` is no integer and `1` is not `true`. A setting that does not exist, or has the wrong type,
keeps the broker from starting; the message names the nearest setting that does exist.

A *dynamic* setting can be changed while the broker runs, and the change is kept: `minibroker admin configs set
log.retention.ms=60000 --node 0`. `minibroker admin configs show` tells what is in force and where it comes from.
"""

_SECTIONS = (
    ("Network", "Listeners, and the limits of connections, requests and memory.", NetworkSettings),
    ("Storage", "The data directory, topics in general, housekeeping.", StorageSettings),
    ("Defaults of topics", "What holds for a topic that does not set it itself.", LogSettings),
    ("Groups and producers", "Consumer groups, committed offsets, idempotent producers.", GroupSettings),
)


def reference() -> Iterator[str]:
    """The page, line by line, without newlines."""
    yield from _HEAD.splitlines()
    for title, purpose, section in _SECTIONS:
        yield from _section(title, purpose, settings_of(section).values())
    yield from _section(
        "Topic settings",
        "Set when a topic is created or with `minibroker admin configs set`. Each has a broker setting behind it, "
        "which holds for topics that do not set it.",
        topic_settings().values(),
    )


def _section(title: str, purpose: str, settings: Iterable[Setting]) -> Iterator[str]:
    yield from ("", f"## {title}", "", purpose, "", "| setting | type | default | meaning |", "|---|---|---|---|")
    for setting in settings:
        yield f"| {_name(setting)} | {_type(setting)} | {_default(setting)} | {_meaning(setting)} |"


def _name(setting: Setting) -> str:
    return f"`{setting.name}`" + (" (dynamic)" if setting.dynamic and not setting.synonyms else "")


def _type(setting: Setting) -> str:
    if setting.range.choices:
        prefix = "list of " if setting.kind.name == "LIST" else ""
        return prefix + ", ".join(f"`{choice}`" for choice in setting.range.choices)
    return f"{setting.kind.name.lower()} {setting.range}".rstrip()


def _default(setting: Setting) -> str:
    default = _value(setting.default)
    return (
        default if setting.default == setting.kafka_default else f"{default}<br>Kafka: {_value(setting.kafka_default)}"
    )


def _value(value: object) -> str:
    if value is None:
        return "unset"
    if value in (MAX_INT, MAX_LONG) or (isinstance(value, float) and value > MAX_LONG):
        return "no limit"
    return f"`{to_text(value)}`"


def _meaning(setting: Setting) -> str:
    behind = ", ".join(f"`{name}`" for name, _ in setting.synonyms)
    return setting.documentation.replace("|", "\\|") + (f" Broker setting: {behind}." if behind else "")


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in reference())
