"""Settings from a file, the environment and flags: which wins, and what an error says."""

from pathlib import Path

import pytest

from minibroker.config.errors import ConfigError
from minibroker.config.load import load_settings, structure
from minibroker.config.settings import BrokerSettings


def in_file(tmp_path: Path, text: str) -> BrokerSettings:
    path = tmp_path / "broker.toml"
    path.write_text(text)
    return load_settings(path)


@pytest.mark.parametrize(
    "text",
    [
        '"log.retention.ms" = 60000',
        "log.retention.ms = 60000",
        "[log.retention]\nms = 60000",
        '[log]\n"retention.ms" = 60000',
    ],
)
def test_a_name_may_be_quoted_dotted_or_nested_in_toml(tmp_path: Path, text: str) -> None:
    """All ways in which TOML can write the name mean the same setting."""
    settings = in_file(tmp_path, text)
    assert settings.log_retention_ms == 60000
    assert settings.explicit == {"log.retention.ms"}


def test_a_list_is_an_array_or_text_with_commas(tmp_path: Path) -> None:
    """Both ways to write a list mean the same."""
    array = in_file(tmp_path, 'listeners = ["127.0.0.1:1", "[::1]:2"]')
    text = in_file(tmp_path, 'listeners = "127.0.0.1:1, [::1]:2"')
    assert array.listeners == text.listeners == ("127.0.0.1:1", "[::1]:2")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('num.partitions = "3"', 'num.partitions expects an integer of at least 1, found "3"'),
        ("num.partitions = true", "num.partitions expects an integer of at least 1, found true"),
        ('delete.topic.enable = "false"', 'delete.topic.enable expects true or false, found "false"'),
        ("log.dirs = 7", "log.dirs expects a string, found 7"),
        ("listeners = [1]", "listeners expects a list of strings, found 1"),
        ("log.retention.mss = 1", 'unknown setting "log.retention.mss"; the nearest known one is "log.retention.ms"'),
        ("nonsense", "expected TOML, found: "),
    ],
)
def test_errors_in_a_file_name_the_file(tmp_path: Path, text: str, problem: str) -> None:
    """One line: whose, what was expected, what was found."""
    with pytest.raises(ConfigError) as caught:
        in_file(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'broker.toml'}: {problem}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """A file that is not there is told by its name and the system's word for it."""
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file or directory"):
        load_settings(tmp_path / "none.toml")


def test_variables_carry_the_name_in_capitals() -> None:
    """MINIBROKER_ and the name with underscores; our own settings do not say minibroker twice, but may."""
    settings = load_settings(
        environment={
            "MINIBROKER_LOG_RETENTION_MS": "5",
            "MINIBROKER_WRITE_TIMEOUT_MS": "6",
            "MINIBROKER_MINIBROKER_READ_TIMEOUT_MS": "7",
            "LOG_RETENTION_MS": "8",
        }
    )
    assert settings.log_retention_ms == 5
    assert settings.minibroker_write_timeout_ms == 6
    assert settings.minibroker_read_timeout_ms == 7


def test_what_kubernetes_puts_into_the_environment_is_not_ours() -> None:
    """A service called minibroker does not keep a broker from starting."""
    load_settings(
        environment={
            "MINIBROKER_PORT": "tcp://10.0.0.1:9092",
            "MINIBROKER_PORT_9092_TCP_ADDR": "10.0.0.1",
            "MINIBROKER_SERVICE_HOST": "10.0.0.1",
            "MINIBROKER_SERVICE_PORT_KAFKA": "9092",
        }
    )


@pytest.mark.parametrize(
    ("environment", "assignments", "problem"),
    [
        ({"MINIBROKER_NUM_PART": "1"}, [], 'environment variable MINIBROKER_NUM_PART: unknown setting "num.part"'),
        ({"MINIBROKER_NODE_ID": "one"}, [], "environment variable MINIBROKER_NODE_ID: node.id expects"),
        ({}, ["num.partitions=0"], "--set num.partitions=0: num.partitions expects an integer of at least 1, found 0"),
        ({}, ["num.partitions"], "--set expects KEY=VALUE, found"),
        ({}, ["a\nb=1"], "unknown setting"),
        ({}, ["listeners="], "listeners expects at least one address"),
        ({}, ["listeners=SSL://:1"], "listeners: expected a PLAINTEXT listener"),
        ({}, ["advertised.listeners=0.0.0.0:1"], "advertised.listeners expects addresses that a client can connect to"),
        ({}, ["advertised.listeners=a:1,b:2,c:3"], "advertised.listeners expects one address, or as many as listeners"),
        ({}, ["log.dirs=a,b"], 'log.dirs expects one directory, found "a,b"'),
        ({}, ["group.max.session.timeout.ms=5"], "group.min.session.timeout.ms expects at most"),
    ],
)
def test_errors_name_their_origin(environment: dict[str, str], assignments: list[str], problem: str) -> None:
    """Variables and --set are quoted as they were written; settings that do not fit together name each other."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environment=environment, assignments=assignments)
    assert problem in str(caught.value)


def test_flags_win_over_set_over_environment_over_file(tmp_path: Path) -> None:
    """The more immediate origin wins, and every one counts as explicit."""
    path = tmp_path / "broker.toml"
    path.write_text('num.partitions = 1\nnode.id = 1\n"message.max.bytes" = 1\n"log.dirs" = "file"')
    settings = load_settings(
        path,
        {"MINIBROKER_NODE_ID": "2", "MINIBROKER_MESSAGE_MAX_BYTES": "2", "MINIBROKER_LOG_DIRS": "environment"},
        ["message.max.bytes=3", "log.dirs=set"],
        log_dirs="flag",
        listeners=None,
    )
    assert settings.num_partitions == 1
    assert settings.node_id == 2
    assert settings.message_max_bytes == 3
    assert settings.log_dirs == "flag"
    assert settings.explicit == {"num.partitions", "node.id", "message.max.bytes", "log.dirs"}


def test_programs_give_values_or_text() -> None:
    """A test that sets up a broker may write 4 or "4", a list or text with commas."""
    assert structure({"num.partitions": 4}).num_partitions == structure({"num.partitions": "4"}).num_partitions == 4
    assert structure({"listeners": ["a:1", "b:2"]}).listeners == structure({"listeners": "a:1,b:2"}).listeners
    with pytest.raises(ConfigError, match=r"^num\.partitions expects an integer of at least 1, found true$"):
        structure({"num.partitions": True})
    with pytest.raises(ConfigError, match=r"^unknown setting"):
        structure({"num.partition": 1})
