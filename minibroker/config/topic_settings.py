"""`TopicSettings`: what holds for one topic, resolved from its own settings and the broker's defaults.

Every topic setting has a broker setting behind it, from which it takes its kind, default, range and documentation; a
few have several, in different units, of which the first that is set counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import attrs

from minibroker.config.errors import unknown_setting
from minibroker.config.log_settings import LogSettings
from minibroker.config.setting import MAX_LONG, Setting, attribute_name, declare, settings_of
from minibroker.config.settings import BrokerSettings

_BROKER_DEFAULTS = settings_of(LogSettings)
_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000


def _inherited(*synonyms: str | tuple[str, int], otherwise: Any = None) -> Any:
    pairs = tuple((synonym, 1) if isinstance(synonym, str) else synonym for synonym in synonyms)
    nearest = _BROKER_DEFAULTS[pairs[0][0]]
    defaults = ((_BROKER_DEFAULTS[synonym].default, factor) for synonym, factor in pairs)
    default = next((scaled(value, factor) for value, factor in defaults if value is not None), otherwise)
    kafka_default = default if nearest.default == nearest.kafka_default else nearest.kafka_default
    return declare(attrs.evolve(nearest, default=default, kafka_default=kafka_default, synonyms=pairs))


def scaled(value: Any, factor: int) -> Any:
    """A broker setting's value in the unit of the topic setting: hours in ms. -1 is no amount but "without limit"."""
    return value if factor == 1 or value < 0 else value * factor


@attrs.frozen(kw_only=True, repr=False)
class TopicSettings:
    """All settings of a topic, each under its Kafka name with underscores; raises ConfigError for a bad one."""

    cleanup_policy: tuple[str, ...] = _inherited("log.cleanup.policy")
    retention_ms: int = _inherited(
        "log.retention.ms",
        ("log.retention.minutes", _MINUTE_MS),
        ("log.retention.hours", _HOUR_MS),
    )
    retention_bytes: int = _inherited("log.retention.bytes")
    segment_bytes: int = _inherited("log.segment.bytes")
    segment_ms: int = _inherited("log.roll.ms", ("log.roll.hours", _HOUR_MS))
    segment_jitter_ms: int = _inherited("log.roll.jitter.ms", ("log.roll.jitter.hours", _HOUR_MS))
    segment_index_bytes: int = _inherited("log.index.size.max.bytes")
    index_interval_bytes: int = _inherited("log.index.interval.bytes")
    max_message_bytes: int = _inherited("message.max.bytes")
    message_timestamp_type: str = _inherited("log.message.timestamp.type")
    message_timestamp_before_max_ms: int = _inherited("log.message.timestamp.before.max.ms")
    message_timestamp_after_max_ms: int = _inherited("log.message.timestamp.after.max.ms")
    compression_type: str = _inherited("compression.type")
    compression_gzip_level: int = _inherited("compression.gzip.level")
    compression_lz4_level: int = _inherited("compression.lz4.level")
    compression_zstd_level: int = _inherited("compression.zstd.level")
    flush_messages: int = _inherited("log.flush.interval.messages")
    flush_ms: int = _inherited("log.flush.interval.ms", otherwise=MAX_LONG)
    min_insync_replicas: int = _inherited("min.insync.replicas")
    min_cleanable_dirty_ratio: float = _inherited("log.cleaner.min.cleanable.ratio")
    min_compaction_lag_ms: int = _inherited("log.cleaner.min.compaction.lag.ms")
    max_compaction_lag_ms: int = _inherited("log.cleaner.max.compaction.lag.ms")
    delete_retention_ms: int = _inherited("log.cleaner.delete.retention.ms")
    file_delete_delay_ms: int = _inherited("log.segment.delete.delay.ms")
    preallocate: bool = _inherited("log.preallocate")
    unclean_leader_election_enable: bool = _inherited("unclean.leader.election.enable")

    @property
    def is_compacted(self) -> bool:
        """Whether old records are dropped by key."""
        return "compact" in self.cleanup_policy

    @property
    def is_deleted(self) -> bool:
        """Whether old segments are dropped by age and size."""
        return "delete" in self.cleanup_policy

    @property
    def durable_before_visible(self) -> bool:
        """Whether an append is synced before acks=all is answered and consumers see it: flush.messages=1."""
        return self.flush_messages == 1


@cache
def topic_settings() -> dict[str, Setting]:
    """Every topic setting by Kafka name."""
    return settings_of(TopicSettings)


def topic_setting(name: str) -> Setting:
    """The topic setting of that name; raises ConfigError, with the nearest known name, if there is none."""
    if (setting := topic_settings().get(name)) is None:
        raise unknown_setting(name, topic_settings(), "topic setting")
    return setting


def parse_overrides(overrides: Mapping[str, str]) -> dict[str, Any]:
    """A topic's own settings from their text, as CreateTopics carries it, by Kafka name; raises ConfigError."""
    return {name: topic_setting(name).from_text(text) for name, text in overrides.items()}


@lru_cache(maxsize=16)  # by identity: a broker has one value of its settings, and thousands of topics
def broker_defaults(broker: BrokerSettings) -> TopicSettings:
    """What holds for a topic that sets nothing."""
    values = {attribute_name(name): inherited_value(setting, broker) for name, setting in topic_settings().items()}
    return TopicSettings(**values)


def inherited_value(setting: Setting, broker: BrokerSettings) -> Any:
    """What the broker's settings make of a topic setting."""
    for synonym, factor in setting.synonyms:
        if (value := getattr(broker, attribute_name(synonym))) is not None:
            return scaled(value, factor)
    return setting.default


def resolve(overrides: Mapping[str, str], broker: BrokerSettings) -> TopicSettings:
    """What holds for a topic with these settings of its own (text, by Kafka name) under this broker.

    Raises ConfigError if one is unknown, ill-typed or out of range.
    """
    return _resolve(tuple(overrides.items()), broker)


@lru_cache(maxsize=64)  # thousands of topics have the same few
def _resolve(overrides: tuple[tuple[str, str], ...], broker: BrokerSettings) -> TopicSettings:
    typed = parse_overrides(dict(overrides))
    return attrs.evolve(broker_defaults(broker), **{attribute_name(name): value for name, value in typed.items()})
