"""A broker's settings in layers: what it was started with, and above that what was changed while it ran (KIP-226).

There are two layers of changes: for one broker, and below it for every broker of a cluster. Both hold text by Kafka name,
and only names of dynamic settings.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any

import attrs

from minibroker.config.errors import ConfigError, shown
from minibroker.config.setting import Setting, attribute_name
from minibroker.config.settings import BrokerSettings, broker_setting

logger = logging.getLogger(__name__)


class ConfigSource(IntEnum):
    """Where a value comes from, with the numbers of DescribeConfigs (KIP-226)."""

    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5


@attrs.frozen(eq=False)
class LayeredSettings:
    """All layers, and what they come to. Raises ConfigError for a change that is none of a dynamic setting, or wrong."""

    static: BrokerSettings
    """What the broker was started with."""
    own: Mapping[str, str] = attrs.field(factory=dict)
    """Changes for this broker: they win."""
    cluster: Mapping[str, str] = attrs.field(factory=dict)
    """Changes for every broker."""
    effective: BrokerSettings = attrs.field(init=False)

    @effective.default
    def _merge(self) -> BrokerSettings:
        changes = [
            (attribute_name(name), _parse(name, text)) for name, text in (*self.cluster.items(), *self.own.items())
        ]
        return attrs.evolve(self.static, **dict(changes)) if changes else self.static

    def values(self, setting: Setting) -> Iterator[tuple[ConfigSource, Any]]:
        """Every value that a broker setting has in some layer, the one in force first."""
        if setting.name in self.own:
            yield ConfigSource.DYNAMIC_BROKER, setting.from_text(self.own[setting.name])
        if setting.name in self.cluster:
            yield ConfigSource.DYNAMIC_DEFAULT_BROKER, setting.from_text(self.cluster[setting.name])
        started_with = getattr(self.static, attribute_name(setting.name))
        if self.static.is_set(setting, started_with):
            yield ConfigSource.STATIC_BROKER, started_with
        if setting.default is not None:
            yield ConfigSource.DEFAULT, setting.default


def restored(static: BrokerSettings, own: Mapping[str, str], cluster: Mapping[str, str]) -> LayeredSettings:
    """The layers of an earlier life. What this version cannot use is passed over, with a warning: it could not be mended.

    (Nobody can change the settings of a broker that does not start.)
    """
    return LayeredSettings(static, _usable(own), _usable(cluster))


def _usable(changes: Mapping[str, str]) -> dict[str, str]:
    usable = {}
    for name, text in changes.items():
        try:
            _parse(name, text)
        except ConfigError as error:
            logger.warning("the stored setting %s is passed over: %s", name, error)
        else:
            usable[name] = text
    return usable


def _parse(name: str, text: str) -> Any:
    setting = broker_setting(name)
    if not setting.dynamic:
        raise ConfigError(f"expected a setting that can change while the broker runs, found {shown(name)}")
    return setting.from_text(text)
