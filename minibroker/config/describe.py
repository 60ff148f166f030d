"""Settings as DescribeConfigs tells them: each with its value, where that comes from, and what stands behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum

import attrs

from minibroker.config.setting import Kind, Setting, attribute_name
from minibroker.config.settings import BrokerSettings, broker_settings
from minibroker.config.topic_settings import inherited_value, topic_settings
from minibroker.config.values import to_text


class ConfigSource(IntEnum):
    """Where a value comes from, with the numbers of DescribeConfigs (KIP-226)."""

    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5


@attrs.frozen
class ConfigSynonym:
    """One place where a setting's value can come from, and what it says there."""

    name: str
    value: str | None
    source: ConfigSource


@attrs.frozen(kw_only=True)
class ConfigEntry:
    """One setting with its value as text; `synonyms` are the places it could come from, the one in force first."""

    name: str
    value: str | None
    source: ConfigSource
    kind: Kind
    documentation: str
    synonyms: tuple[ConfigSynonym, ...]
    read_only: bool
    sensitive: bool = False  # we have no passwords among our settings


def describe_topic(overrides: Mapping[str, str], broker: BrokerSettings) -> list[ConfigEntry]:
    """Every topic setting, for a topic with these settings of its own (text by Kafka name)."""
    return [_topic_entry(setting, overrides.get(name), broker) for name, setting in topic_settings().items()]


def describe_broker(broker: BrokerSettings) -> list[ConfigEntry]:
    """Every broker setting."""
    return [_broker_entry(setting, broker) for setting in broker_settings().values()]


def _topic_entry(setting: Setting, own: str | None, broker: BrokerSettings) -> ConfigEntry:
    behind = tuple(_behind(setting, broker))
    if own is not None:
        behind = (ConfigSynonym(setting.name, own, ConfigSource.TOPIC), *behind)
    return ConfigEntry(
        name=setting.name,
        value=to_text(inherited_value(setting, broker)) if own is None else own,
        source=behind[0].source if behind else ConfigSource.DEFAULT,
        kind=setting.kind,
        documentation=setting.documentation,
        synonyms=behind,
        read_only=False,
    )


def _behind(setting: Setting, broker: BrokerSettings) -> Iterator[ConfigSynonym]:
    for name, _ in setting.synonyms:
        if (value := getattr(broker, attribute_name(name))) is not None:
            yield ConfigSynonym(name, to_text(value), _source(broker_settings()[name], value, broker))


def _broker_entry(setting: Setting, broker: BrokerSettings) -> ConfigEntry:
    value = getattr(broker, attribute_name(setting.name))
    source = _source(setting, value, broker)
    places = [ConfigSynonym(setting.name, to_text(value), source)] if source is not ConfigSource.DEFAULT else []
    if setting.default is not None:
        places.append(ConfigSynonym(setting.name, to_text(setting.default), ConfigSource.DEFAULT))
    return ConfigEntry(
        name=setting.name,
        value=to_text(value),
        source=source,
        kind=setting.kind,
        documentation=setting.documentation,
        synonyms=tuple(places),
        read_only=not setting.dynamic,
    )


def _source(setting: Setting, value: object, broker: BrokerSettings) -> ConfigSource:
    return ConfigSource.STATIC_BROKER if broker.is_set(setting, value) else ConfigSource.DEFAULT
