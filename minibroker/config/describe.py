"""Settings as DescribeConfigs tells them: each with its value, where that comes from, and what stands behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from minibroker.config.layers import ConfigSource, LayeredSettings
from minibroker.config.setting import Kind, Setting, attribute_name
from minibroker.config.settings import broker_settings
from minibroker.config.topic_settings import inherited_value, topic_settings
from minibroker.config.values import to_text


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


def describe_topic(overrides: Mapping[str, str], broker: LayeredSettings) -> list[ConfigEntry]:
    """Every topic setting, for a topic with these settings of its own (text by Kafka name)."""
    return [_topic_entry(setting, overrides.get(name), broker) for name, setting in topic_settings().items()]


def describe_broker(broker: LayeredSettings) -> list[ConfigEntry]:
    """Every broker setting, as it holds for this broker."""
    return [_broker_entry(setting, broker) for setting in broker_settings().values()]


def describe_cluster(broker: LayeredSettings) -> list[ConfigEntry]:
    """The settings that were changed for every broker, and only these."""
    below = LayeredSettings(broker.static, cluster=broker.cluster)
    return [_broker_entry(broker_settings()[name], below) for name in broker.cluster]


def _topic_entry(setting: Setting, own: str | None, broker: LayeredSettings) -> ConfigEntry:
    behind = tuple(_behind(setting, broker))
    if own is not None:
        behind = (ConfigSynonym(setting.name, own, ConfigSource.TOPIC), *behind)
    return ConfigEntry(
        name=setting.name,
        value=to_text(inherited_value(setting, broker.effective)) if own is None else own,
        source=behind[0].source if behind else ConfigSource.DEFAULT,
        kind=setting.kind,
        documentation=setting.documentation,
        synonyms=behind,
        read_only=False,
    )


def _behind(setting: Setting, broker: LayeredSettings) -> Iterator[ConfigSynonym]:
    for name, _ in setting.synonyms:
        yield from _places(broker_settings()[name], broker)


def _places(setting: Setting, broker: LayeredSettings) -> Iterator[ConfigSynonym]:
    for source, value in broker.values(setting):
        yield ConfigSynonym(setting.name, to_text(value), source)


def _broker_entry(setting: Setting, broker: LayeredSettings) -> ConfigEntry:
    places = tuple(_places(setting, broker))
    return ConfigEntry(
        name=setting.name,
        value=to_text(getattr(broker.effective, attribute_name(setting.name))),
        source=places[0].source if places else ConfigSource.DEFAULT,
        kind=setting.kind,
        documentation=setting.documentation,
        synonyms=places,
        read_only=not setting.dynamic,
    )
