"""Settings: names, kinds, ranges and defaults, for both settings classes at once."""

import attrs
import pytest

from minibroker.config.errors import ConfigError, unknown_setting
from minibroker.config.setting import Setting, attribute_name, to_text
from minibroker.config.settings import BrokerSettings, broker_settings
from minibroker.config.topic_settings import TopicSettings, topic_settings

ALL_SETTINGS = [*broker_settings().values(), *topic_settings().values()]


@pytest.mark.parametrize(("cls", "settings"), [(BrokerSettings, broker_settings()), (TopicSettings, topic_settings())])
def test_each_attribute_is_its_kafka_name_with_underscores(cls: type, settings: dict[str, Setting]) -> None:
    """Attribute and Kafka name say the same, and every attribute but `explicit` is a setting."""
    attributes = {field.name for field in attrs.fields(cls)} - {"explicit"}
    assert attributes == set(map(attribute_name, settings))


@pytest.mark.parametrize("setting", ALL_SETTINGS, ids=lambda setting: setting.name)
def test_defaults_are_valid_and_survive_their_text_form(setting: Setting) -> None:
    """A default passes its own check, and so does what DescribeConfigs says of it when it is sent back."""
    setting.checked(setting.default)
    if setting.default is not None:
        assert setting.from_text(to_text(setting.default) or "") == setting.default


@pytest.mark.parametrize("setting", ALL_SETTINGS, ids=lambda setting: setting.name)
def test_documentation_is_a_sentence_of_our_own(setting: Setting) -> None:
    """Every setting is explained in at least one whole sentence."""
    assert setting.documentation.endswith(".")
    assert len(setting.documentation) > 20


@pytest.mark.parametrize("setting", ALL_SETTINGS, ids=lambda setting: setting.name)
def test_a_default_that_is_not_kafkas_is_explained(setting: Setting) -> None:
    """Where a client would find another default on Kafka, the exceptions are these and no others."""
    deviations = {
        "listeners",  # loopback only, until somebody asks for more
        "log.dirs",
        "socket.listen.backlog.size",
        "queued.max.request.bytes",
        "log.flush.offset.checkpoint.interval.ms",
        "log.flush.interval.messages",
        "flush.messages",
    }
    assert (setting.default != setting.kafka_default) == (setting.name in deviations)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num.partitions", 0, "num.partitions expects an integer of at least 1, found 0"),
        ("num.partitions", True, "num.partitions expects an integer of at least 1, found true"),
        ("num.partitions", "4", 'num.partitions expects an integer of at least 1, found "4"'),
        ("num.partitions", 2**31, "num.partitions expects an integer of at least 1, found 2147483648"),
        ("num.partitions", None, 'num.partitions expects an integer of at least 1, found "None"'),
        ("delete.topic.enable", 1, "delete.topic.enable expects true or false, found 1"),
        ("log.cleanup.policy", ("keep",), "log.cleanup.policy expects a list of strings out of delete, compact, found"),
        ("log.cleaner.min.cleanable.ratio", 1.5, "cleanable.ratio expects a number from 0 to 1, found 1.5"),
        ("compression.gzip.level", 0, "compression.gzip.level expects an integer from 1 to 9, or -1, found 0"),
        ("log.message.timestamp.type", "createtime", "expects a string out of CreateTime, LogAppendTime, found"),
    ],
)
def test_what_is_refused_is_told_in_one_line(name: str, value: object, message: str) -> None:
    """The error names the setting, what was expected and what was found."""
    with pytest.raises(ConfigError) as caught:
        BrokerSettings(**{attribute_name(name): value})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_value_outside_the_range_that_means_something_is_taken() -> None:
    """Gzip's levels are 1 to 9, and -1 for its own default."""
    assert BrokerSettings(compression_gzip_level=-1).compression_gzip_level == -1


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("delete.topic.enable", " TRUE ", True),
        ("num.partitions", " 12 ", 12),
        ("log.retention.bytes", "-1", -1),
        ("log.cleanup.policy", "delete, compact", ("delete", "compact")),
        ("log.cleanup.policy", "", ()),
        ("log.cleaner.min.cleanable.ratio", "0.25", 0.25),
    ],
)
def test_text_is_read_by_kafkas_rules(name: str, text: str, value: object) -> None:
    """Spaces around a value and the case of true and false do not count; lists are written with commas."""
    assert broker_settings()[name].from_text(text) == value


@pytest.mark.parametrize("text", ["", "1_000", "0x10", "1.0", "one", "\u0661", "1 2"])
def test_text_that_is_no_integer_is_refused(text: str) -> None:
    """Only ASCII digits with a sign are an integer, whatever Python's int() would make of it."""
    with pytest.raises(ConfigError, match="expects an integer"):
        broker_settings()["num.partitions"].from_text(text)


def test_a_name_longer_than_any_setting_is_compared_with_none() -> None:
    """A request may have thousands of them; they are refused without a look at what is known, and quoted in part."""
    names = iter(["num.partitions"])
    refusal = str(unknown_setting("num.partition" * 100, names))
    assert next(names) == "num.partitions"
    assert "nearest" not in refusal
    assert len(refusal) < 300


def test_a_name_that_is_like_none_has_no_nearest() -> None:
    """No guess is better than a wrong one."""
    assert str(unknown_setting("xyz", ["num.partitions"])) == 'unknown setting "xyz"'
