"""Addresses as users write them."""

from __future__ import annotations

import pytest

from minibroker.client.address import Address, parse_address, parse_addresses


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost", "localhost", 9092),
        ("kafka:19092", "kafka", 19092),
        (" 10.0.0.1:9093 ", "10.0.0.1", 9093),
        ("[::1]:9092", "::1", 9092),
        ("[::1]", "::1", 9092),
        ("fe80::1", "fe80::1", 9092),
    ],
)
def test_reads_host_and_port(text: str, host: str, port: int) -> None:
    """Hosts with and without port, IPv6 with and without brackets."""
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize("text", ["", ":9092", "host:", "host:0x1", "host:70000", "[::1", "host:-1"])
def test_refuses_what_is_no_address(text: str) -> None:
    """The message shows what was found; a missing port after the colon counts as none."""
    if text == "host:":
        assert parse_address(text).port == 9092
    else:
        with pytest.raises(ValueError, match="HOST:PORT"):
            parse_address(text)


def test_lists_keep_order_and_drop_repeats() -> None:
    """A comma-separated list and an iterable mean the same."""
    expected = (Address("a", 1), Address("b", 9092))
    assert parse_addresses("a:1, b,a:1") == expected
    assert parse_addresses(["a:1", "b"]) == expected
    with pytest.raises(ValueError, match="at least one"):
        parse_addresses(" , ")


def test_writes_ipv6_in_brackets() -> None:
    """What is printed can be read again."""
    assert str(Address("::1", 1)) == "[::1]:1"
    assert parse_address(str(Address("::1", 1))) == Address("::1", 1)
