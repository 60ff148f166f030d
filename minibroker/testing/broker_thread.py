"""A broker in a thread of its own, for tests that are not Trio's."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from types import TracebackType

import trio

from minibroker.config.load import RawValue
from minibroker.testing.embedded import TestBroker, open_broker


class BrokerThread:
    """See the package. `stop` and `start` restart it on the same directory and the same port."""

    def __init__(self, settings: Mapping[str, RawValue] | None = None, *, data_dir: str | None = None) -> None:
        """Take settings by Kafka name, and a directory that is to be kept."""
        self._settings = dict(settings or {})
        self._resources = contextlib.ExitStack()
        self._data_dir = data_dir
        self._thread: threading.Thread | None = None
        self._broker: TestBroker | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._ended: Future[None] = Future()

    @property
    def broker(self) -> TestBroker:
        """The running broker; its objects belong to its thread."""
        assert self._broker is not None, "the broker is not running"
        return self._broker

    @property
    def address(self) -> str:
        """HOST:PORT, what clients call a bootstrap server."""
        return self.broker.address

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.broker.host

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.broker.port

    @property
    def data_dir(self) -> str:
        """Where its logs are."""
        return self.broker.data_dir

    def start(self) -> BrokerThread:
        """Return when it accepts connections. Raises whatever kept it from doing so."""
        assert self._thread is None, "the broker is running"
        if self._data_dir is None:
            directory = tempfile.TemporaryDirectory(prefix="minibroker-")
            self._data_dir = self._resources.enter_context(directory)
        started: Future[TestBroker] = Future()
        self._ended = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="minibroker", daemon=True)
        self._thread.start()
        try:
            self._broker = started.result()
        except BaseException:
            self._thread.join()
            self._thread = None
            raise
        self._settings["listeners"] = f"PLAINTEXT://{self._broker.address}"
        return self

    def stop(self) -> None:
        """End it in an orderly way. Raises whatever made it end before."""
        assert self._thread is not None, "the broker is not running"
        assert self._token is not None
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.broker.running.stop)
        self._thread.join()
        self._thread = self._broker = None
        self._ended.result()

    def __enter__(self) -> BrokerThread:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._thread is not None:
                self.stop()
        finally:
            self._resources.close()

    def _run(self, started: Future[TestBroker]) -> None:
        try:
            trio.run(self._serve, started)
        except BaseException as error:  # handed to the thread that waits for it
            if started.done():
                self._ended.set_exception(error)
            else:
                started.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _serve(self, started: Future[TestBroker]) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with open_broker(self._settings, data_dir=self._data_dir) as broker:
            started.set_result(broker)
            await broker.running.wait_stopping()
