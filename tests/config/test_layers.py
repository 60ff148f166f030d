"""Settings that change while a broker runs: which layer wins, what may change, what a restart makes of them."""

import pytest

from minibroker.config.describe import ConfigSynonym, describe_broker, describe_cluster, describe_topic
from minibroker.config.errors import ConfigError
from minibroker.config.layers import ConfigSource, LayeredSettings, restored
from minibroker.config.settings import BrokerSettings

STATIC = BrokerSettings(log_segment_bytes=4096)


def test_without_changes_the_settings_are_those_it_was_started_with() -> None:
    """The very same value, so that caches keyed by it hold."""
    assert LayeredSettings(STATIC).effective is STATIC


def test_the_nearest_layer_wins() -> None:
    """This broker's changes win over the cluster's, and these over what it was started with."""
    layers = LayeredSettings(
        STATIC, own={"log.segment.bytes": "6000"}, cluster={"log.segment.bytes": "5000", "log.retention.ms": "9"}
    )
    assert layers.effective.log_segment_bytes == 6000
    assert layers.effective.log_retention_ms == 9
    assert LayeredSettings(STATIC, cluster=layers.cluster).effective.log_segment_bytes == 5000


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"num.partitions": "4"}, 'can change while the broker runs, found "num.partitions"'),
        ({"log.segment.byte": "4"}, 'unknown setting "log.segment.byte"; the nearest known one is "log.segment.bytes"'),
        ({"log.segment.bytes": "x"}, 'log.segment.bytes expects an integer of at least 1024, found "x"'),
        ({"log.segment.bytes": "-1"}, "log.segment.bytes expects an integer of at least 1024, found -1"),
    ],
)
def test_only_dynamic_settings_with_good_values_may_change(changes: dict[str, str], problem: str) -> None:
    """A static, unknown, ill-typed or out-of-range setting is refused in one line, in either layer."""
    with pytest.raises(ConfigError) as caught:
        LayeredSettings(STATIC, own=changes)
    assert problem in str(caught.value)
    with pytest.raises(ConfigError):
        LayeredSettings(STATIC, cluster=changes)


def test_a_restart_passes_over_what_it_cannot_use(caplog: pytest.LogCaptureFixture) -> None:
    """A stored setting that this version does not know is named in the log, and the rest holds."""
    layers = restored(STATIC, {"log.segment.bytes": "6000", "log.no.more": "1"}, {"num.partitions": "4"})
    assert layers.effective.log_segment_bytes == 6000
    assert layers.own == {"log.segment.bytes": "6000"}
    assert layers.cluster == {}
    assert "log.no.more" in caplog.text


def test_a_description_shows_every_layer() -> None:
    """What stands behind a value is listed in the order in which it would come into force."""
    layers = LayeredSettings(STATIC, own={"log.segment.bytes": "6000"}, cluster={"log.segment.bytes": "5000"})
    places = (
        ConfigSynonym("log.segment.bytes", "6000", ConfigSource.DYNAMIC_BROKER),
        ConfigSynonym("log.segment.bytes", "5000", ConfigSource.DYNAMIC_DEFAULT_BROKER),
        ConfigSynonym("log.segment.bytes", "4096", ConfigSource.STATIC_BROKER),
        ConfigSynonym("log.segment.bytes", "1073741824", ConfigSource.DEFAULT),
    )
    broker = {entry.name: entry for entry in describe_broker(layers)}
    assert broker["log.segment.bytes"].synonyms == places
    assert broker["log.segment.bytes"].value == "6000"
    topic = {entry.name: entry for entry in describe_topic({}, layers)}
    assert topic["segment.bytes"].synonyms == places
    assert topic["segment.bytes"].source is ConfigSource.DYNAMIC_BROKER
    [cluster] = describe_cluster(layers)
    assert (cluster.value, cluster.synonyms) == ("5000", places[1:])
