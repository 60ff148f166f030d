"""`BrokerSettings`: every setting of the broker, as one flat value."""

from __future__ import annotations

from functools import cache

import attrs

from minibroker.config.errors import ConfigError, shown, unknown_setting
from minibroker.config.group_settings import GroupSettings
from minibroker.config.listeners import Listener, parse_listeners
from minibroker.config.log_settings import LogSettings
from minibroker.config.network_settings import NetworkSettings
from minibroker.config.setting import Setting, settings_of
from minibroker.config.storage_settings import StorageSettings


@attrs.frozen(kw_only=True, eq=False, repr=False, slots=False)
class BrokerSettings(  # type: ignore[misc]  # the sections have no initialiser, so theirs do not have to agree
    NetworkSettings, StorageSettings, LogSettings, GroupSettings
):
    """All settings of a broker, each checked when the value is made; raises ConfigError.

    An attribute is its Kafka name with underscores: `settings.log_retention_ms`. Change one with `attrs.evolve`.
    """

    explicit: frozenset[str] = frozenset()
    """Kafka names of the settings that somebody set, be it to their default: DescribeConfigs tells them apart."""

    def __attrs_post_init__(self) -> None:
        """What single settings cannot check: that they fit together."""
        self.advertised_addresses()
        if "," in self.log_dirs or not self.log_dirs:
            raise ConfigError(f"log.dirs expects one directory, found {shown(self.log_dirs)}")
        if self.group_min_session_timeout_ms > self.group_max_session_timeout_ms:
            raise ConfigError("group.min.session.timeout.ms expects at most group.max.session.timeout.ms")

    def listen_addresses(self) -> tuple[Listener, ...]:
        """Where to listen: at least one address."""
        addresses = parse_listeners("listeners", self.listeners)
        if not addresses:
            raise ConfigError("listeners expects at least one address, found an empty list")
        return addresses

    def advertised_addresses(self) -> tuple[Listener, ...]:
        """What to tell clients, one address for each that is listened on, in the same order.

        Without `advertised.listeners` these are the listen addresses themselves, wildcard hosts and port 0 included:
        only who has bound them knows better.
        """
        listening = self.listen_addresses()
        if self.advertised_listeners is None:
            return listening
        advertised = parse_listeners("advertised.listeners", self.advertised_listeners)
        if any(address.is_wildcard for address in advertised):
            raise ConfigError("advertised.listeners expects addresses that a client can connect to, found a wildcard")
        if len(advertised) not in (1, len(listening)):
            raise ConfigError(
                f"advertised.listeners expects one address, or as many as listeners has ({len(listening)}), "
                f"found {len(advertised)}"
            )
        return advertised * len(listening) if len(advertised) == 1 else advertised

    def is_set(self, setting: Setting, value: object) -> bool:
        """Whether `value` of `setting` was chosen rather than left at its default."""
        return setting.name in self.explicit or value != setting.default


@cache
def broker_settings() -> dict[str, Setting]:
    """Every broker setting by Kafka name."""
    return settings_of(BrokerSettings)


def broker_setting(name: str) -> Setting:
    """The broker setting of that name; raises ConfigError, with the nearest known name, if there is none."""
    if (setting := broker_settings().get(name)) is None:
        raise unknown_setting(name, broker_settings())
    return setting
