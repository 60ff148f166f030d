"""Settings as DescribeConfigs tells them: each with its value, where that comes from, and what stands behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from minibroker.config.layers import ConfigSource, LayeredSettings
from minibroker.config.setting import Kind, Setting, attribute_name, to_text
from minibroker.config.settings import broker_settings
from minibroker.config.topic_settings import inherited_value, topic_settings


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
    behind = [place for name, _ in setting.synonyms for place in _places(broker_settings()[name], broker)]
    if own is None:
        return _entry(setting, to_text(inherited_value(setting, broker.effective)), behind, read_only=False)
    return _entry(setting, own, [ConfigSynonym(setting.name, own, ConfigSource.TOPIC), *behind], read_only=False)


def _broker_entry(setting: Setting, broker: LayeredSettings) -> ConfigEntry:
    value = to_text(getattr(broker.effective, attribute_name(setting.name)))
    return _entry(setting, value, _places(setting, broker), read_only=not setting.dynamic)


def _places(setting: Setting, broker: LayeredSettings) -> list[ConfigSynonym]:
    return [ConfigSynonym(setting.name, to_text(value), source) for source, value in broker.values(setting)]


def _entry(setting: Setting, value: str | None, places: Sequence[ConfigSynonym], *, read_only: bool) -> ConfigEntry:
    return ConfigEntry(
        name=setting.name,
        value=value,
        source=places[0].source if places else ConfigSource.DEFAULT,
        kind=setting.kind,
        documentation=setting.documentation,
        synonyms=tuple(places),
        read_only=read_only,
    )
