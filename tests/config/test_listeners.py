"""Addresses: Kafka's way to write them and the short one, and what is wrong with the others."""

import pytest

from minibroker.config.errors import ConfigError
from minibroker.config.listeners import Listener, parse_listener
from minibroker.config.settings import BrokerSettings


@pytest.mark.parametrize(
    ("text", "listener", "written"),
    [
        ("PLAINTEXT://127.0.0.1:9092", Listener("127.0.0.1", 9092), "PLAINTEXT://127.0.0.1:9092"),
        ("localhost:1", Listener("localhost", 1), "PLAINTEXT://localhost:1"),
        (":9093", Listener("", 9093), "PLAINTEXT://:9093"),
        ("PLAINTEXT://[::1]:0", Listener("::1", 0), "PLAINTEXT://[::1]:0"),
        ("[::1]", Listener("::1", 9092), "PLAINTEXT://[::1]:9092"),
        ("kafka.example", Listener("kafka.example", 9092), "PLAINTEXT://kafka.example:9092"),
        ("INSIDE://a:1", Listener("a", 1, "INSIDE"), "INSIDE://a:1"),
    ],
)
def test_addresses_are_read_and_written(text: str, listener: Listener, written: str) -> None:
    """Name, scheme and port may be left out; what is written is Kafka's form."""
    assert parse_listener(text) == listener
    assert str(listener) == written


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a:70000", 'expected a port from 0 to 65535, found "70000"'),
        ("a:-1", "expected a port"),
        ("a:x", "expected a port"),
        ("::1:9092", "expected brackets around an IPv6 host"),
        ("[::1", r"expected an address like \[::1\]:9092"),
        ("SASL_SSL://a:1", "expected a PLAINTEXT listener"),
        ("!://a:1", "expected an address like PLAINTEXT://HOST:PORT"),
    ],
)
def test_other_addresses_are_refused(text: str, problem: str) -> None:
    """The error says what an address looks like."""
    with pytest.raises(ConfigError, match=problem):
        parse_listener(text)


def test_clients_are_told_the_listeners_unless_something_else_is_advertised() -> None:
    """One advertised address stands for all listeners, several for one each."""
    listening = BrokerSettings(listeners=("127.0.0.1:1", "[::1]:2"))
    assert listening.advertised_addresses() == listening.listen_addresses()
    one = BrokerSettings(listeners=("127.0.0.1:1", "[::1]:2"), advertised_listeners=("a:3",))
    assert one.advertised_addresses() == (Listener("a", 3), Listener("a", 3))
    each = BrokerSettings(listeners=("127.0.0.1:1", "[::1]:2"), advertised_listeners=("a:3", "b:4"))
    assert each.advertised_addresses() == (Listener("a", 3), Listener("b", 4))
