"""A broker inside a test: on a free port of 127.0.0.1, with a directory of its own, gone when the test is.

    with minibroker.testing.BrokerThread() as broker:          # synchronous tests, any client
        Producer({"bootstrap.servers": broker.address})

    async with minibroker.testing.open_broker() as broker:     # Trio
        ...

    def test_orders(minibroker):                               # pytest; the plugin comes with the package
        Producer({"bootstrap.servers": minibroker.address})

Settings go in under Kafka's names: `BrokerThread({"num.partitions": 4})`. The broker is the real one, durability included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minibroker.testing.broker_thread import BrokerThread
    from minibroker.testing.embedded import TestBroker, open_broker

__all__ = ["BrokerThread", "TestBroker", "open_broker"]


def __getattr__(name: str) -> Any:
    """Import on first use: pytest loads this package for its plugin in every run, with or without a broker."""
    if name == "BrokerThread":
        from minibroker.testing.broker_thread import BrokerThread

        return BrokerThread
    if name in __all__:
        from minibroker.testing import embedded

        return getattr(embedded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
