"""Addresses: what a broker listens on and what it tells its clients to connect to."""

from __future__ import annotations

from typing import Final

import attrs

from minibroker.config.errors import ConfigError, shown

PLAINTEXT: Final = "PLAINTEXT"
DEFAULT_PORT: Final = 9092
WILDCARD_HOSTS: Final = ("", "0.0.0.0", "::")
_ENCRYPTED: Final = ("SSL", "SASL_PLAINTEXT", "SASL_SSL")


@attrs.frozen
class Listener:
    """One address. `host` has no brackets; "" means every interface. Port 0 is any free one."""

    host: str
    port: int
    name: str = PLAINTEXT

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every interface, so that it is no address to connect to."""
        return self.host in WILDCARD_HOSTS

    @property
    def address(self) -> str:
        """HOST:PORT, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """Kafka's way to write it."""
        return f"{self.name}://{self.address}"


def parse_listener(text: str) -> Listener:
    """NAME://HOST:PORT, HOST:PORT, :PORT or HOST; raises ConfigError that says what is wrong with it."""
    name, scheme, address = text.rpartition("://")
    if scheme and not name.replace("_", "").replace("-", "").isalnum():
        raise ConfigError(f"expected an address like {PLAINTEXT}://HOST:PORT, found {shown(text)}")
    if name.upper() in _ENCRYPTED:
        raise ConfigError(f"expected a {PLAINTEXT} listener, the only kind there is yet, found {shown(text)}")
    host, port = split_address(address, DEFAULT_PORT)
    return Listener(host, port, name or PLAINTEXT)


def split_address(address: str, default_port: int) -> tuple[str, int]:
    """Host and port of HOST:PORT; IPv6 hosts stand in brackets. Raises ConfigError."""
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError(f"expected an address like [::1]:{default_port}, found {shown(address)}")
        port = rest[1:]
    else:
        host, _, port = address.partition(":")
    if ":" in port:
        raise ConfigError(f"expected brackets around an IPv6 host, like [::1]:{default_port}, found {shown(address)}")
    if not port:
        return host, default_port
    if not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise ConfigError(f"expected a port from 0 to 65535, found {shown(port)} in {shown(address)}")
    return host, int(port)


def parse_listeners(name: str, texts: tuple[str, ...]) -> tuple[Listener, ...]:
    """All of them; a ConfigError names the setting they come from."""
    try:
        return tuple(map(parse_listener, texts))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
