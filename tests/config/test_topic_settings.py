"""Topic settings: inherited from the broker's, overridden by their own, described with all that stands behind them."""

import pytest

from minibroker.config.describe import ConfigEntry, ConfigSynonym, describe_broker, describe_topic
from minibroker.config.errors import ConfigError
from minibroker.config.layers import ConfigSource, LayeredSettings
from minibroker.config.setting import MAX_LONG
from minibroker.config.settings import BrokerSettings
from minibroker.config.topic_settings import TopicSettings, resolve


def described(entries: list[ConfigEntry], name: str) -> ConfigEntry:
    return next(entry for entry in entries if entry.name == name)


def test_without_any_setting_kafkas_defaults_hold() -> None:
    """A topic on a broker that sets nothing is what a topic is on Kafka, except that it is synced."""
    settings = resolve({}, BrokerSettings())
    assert settings == TopicSettings()
    assert settings.retention_ms == 604800000
    assert settings.segment_ms == 604800000
    assert settings.max_message_bytes == 1048588
    assert settings.cleanup_policy == ("delete",)
    assert settings.flush_ms == MAX_LONG
    assert settings.durable_before_visible


@pytest.mark.parametrize(
    ("broker", "retention_ms"),
    [
        ({"log_retention_hours": 1}, 3_600_000),
        ({"log_retention_hours": 1, "log_retention_minutes": 2}, 120_000),
        ({"log_retention_hours": 1, "log_retention_minutes": 2, "log_retention_ms": 3}, 3),
        ({"log_retention_hours": -1}, -1),
        ({"log_retention_minutes": -1}, -1),
    ],
)
def test_the_finest_unit_that_is_set_counts(broker: dict[str, int], retention_ms: int) -> None:
    """Milliseconds win over minutes over hours, and -1 is "for ever" in each."""
    assert resolve({}, BrokerSettings(**broker)).retention_ms == retention_ms


def test_a_topics_own_setting_wins() -> None:
    """What a topic sets holds for it, whatever the broker says, and the rest is the broker's."""
    broker = BrokerSettings(log_retention_ms=5, log_segment_bytes=4096)
    settings = resolve({"retention.ms": "7", "cleanup.policy": "compact"}, broker)
    assert settings.retention_ms == 7
    assert settings.segment_bytes == 4096
    assert settings.is_compacted
    assert not settings.is_deleted


def test_any_larger_flush_messages_relaxes_durability() -> None:
    """flush.messages=1 is the promise; what Kafka has as its default is the way out of it."""
    assert resolve({"flush.messages": "1", "flush.ms": "1000"}, BrokerSettings()).durable_before_visible
    assert not resolve({"flush.messages": str(MAX_LONG)}, BrokerSettings()).durable_before_visible
    assert not resolve({}, BrokerSettings(log_flush_interval_messages=10000)).durable_before_visible


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"retention.sm": "1"}, 'unknown topic setting "retention.sm"; the nearest known one is "retention.ms"'),
        ({"retention.ms": "-2"}, "retention.ms expects an integer of at least -1, found -2"),
        ({"retention.ms": "x"}, 'retention.ms expects an integer of at least -1, found "x"'),
        ({"segment.bytes": "2147483648"}, "segment.bytes expects an integer of at least 1024"),
        ({"min.cleanable.dirty.ratio": "1.5"}, "min.cleanable.dirty.ratio expects a number from 0 to 1"),
        ({"min.cleanable.dirty.ratio": "nan"}, "min.cleanable.dirty.ratio expects a number from 0 to 1"),
        ({"flush.messages": "0"}, "flush.messages expects an integer of at least 1"),
        ({"cleanup.policy": "compact,burn"}, "cleanup.policy expects a list of strings out of delete, compact"),
    ],
)
def test_what_kafka_refuses_is_refused(overrides: dict[str, str], problem: str) -> None:
    """An unknown, ill-typed or excessive topic setting is an error that says so in one line."""
    with pytest.raises(ConfigError) as caught:
        resolve(overrides, BrokerSettings())
    assert problem in str(caught.value)


def test_a_topics_description_tells_where_each_value_comes_from() -> None:
    """Own value, broker's setting, default: the one in force comes first."""
    broker = BrokerSettings(log_retention_ms=5, log_roll_hours=1)
    entries = describe_topic({"retention.ms": "7"}, LayeredSettings(broker))
    assert described(entries, "retention.ms").source is ConfigSource.TOPIC
    assert described(entries, "retention.ms").synonyms == (
        ConfigSynonym("retention.ms", "7", ConfigSource.TOPIC),
        ConfigSynonym("log.retention.ms", "5", ConfigSource.STATIC_BROKER),
        ConfigSynonym("log.retention.hours", "168", ConfigSource.DEFAULT),
    )
    assert described(entries, "segment.ms").value == "3600000"
    assert described(entries, "segment.ms").source is ConfigSource.STATIC_BROKER
    assert described(entries, "flush.ms").source is ConfigSource.DEFAULT
    assert not any(entry.read_only for entry in entries)


def test_a_brokers_description_tells_set_from_default() -> None:
    """A setting that somebody set, even to its default, has another source than one that nobody touched."""
    entries = describe_broker(LayeredSettings(BrokerSettings(num_partitions=4, explicit=frozenset({"node.id"}))))
    assert described(entries, "num.partitions").value == "4"
    assert described(entries, "num.partitions").synonyms == (
        ConfigSynonym("num.partitions", "4", ConfigSource.STATIC_BROKER),
        ConfigSynonym("num.partitions", "1", ConfigSource.DEFAULT),
    )
    assert described(entries, "node.id").source is ConfigSource.STATIC_BROKER
    assert described(entries, "num.partitions").read_only
    assert described(entries, "log.retention.ms").value is None
    assert described(entries, "log.retention.ms").source is ConfigSource.DEFAULT
    assert not described(entries, "log.retention.ms").read_only
