"""Broker addresses: `host:port`, as users write them and as brokers advertise them."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

DEFAULT_PORT = 9092


@attrs.frozen
class Address:
    """Where a broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`host`, `host:port` or `[ipv6]:port`; without a port 9092. Raises ValueError that shows the text."""
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if bracket else "?"
    elif text.count(":") > 1:  # a bare IPv6 address cannot carry a port
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    port = port or str(DEFAULT_PORT)
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"expected HOST:PORT, for example 127.0.0.1:9092, found {text!r}")
    return Address(host, int(port))


def parse_addresses(bootstrap: str | Iterable[str | Address]) -> tuple[Address, ...]:
    """A comma-separated list or an iterable of addresses, in order and without repeats. Raises ValueError."""
    texts = [str(address) for address in (bootstrap.split(",") if isinstance(bootstrap, str) else bootstrap)]
    addresses = tuple(dict.fromkeys(parse_address(text) for text in texts if text.strip()))
    if not addresses:
        raise ValueError("expected at least one bootstrap address HOST:PORT, found none")
    return addresses
