"""One connection to one broker: versions, correlation, pipelining, timeouts.

Kafka answers the requests of a connection in order. So there is no map of requests but a queue, a correlation id is
only a check, and the request timeout of the oldest request is the only timer. Requests are submitted without waiting
(`submit` with a callback, which costs no task and no wake-up); `request` is the awaitable form.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import outcome
import trio

from minibroker.client.address import Address
from minibroker.client.errors import ConnectionLost, NotSupportedByBroker, RequestTimeout
from minibroker.client.transport import Buffer, Transport
from minibroker.protocol.api import ApiKey, response_class
from minibroker.protocol.codec import decode_message
from minibroker.protocol.errors import ErrorCode, KafkaError, ProtocolError
from minibroker.protocol.framing import decode_response_header, encode_request
from minibroker.protocol.schema import Request, Response

RECEIVE_BYTES = 65536
"""The reused receive buffer. Frames that fit are copied out of it, larger ones get a buffer of their own."""

MAX_FRAME_BYTES = 1 << 28
"""A response that claims more than this (256 MiB) is taken for garbage."""

READS_PER_CHECKPOINT = 16
"""A socket that never runs dry must not keep the other tasks from running."""

OnResponse = Callable[[Any, KafkaError | None], None]
"""Called once with (response, None) or (None, error), in the connection's reader task. Must not raise."""

ResponseT = TypeVar("ResponseT", bound=Response)


@attrs.define(eq=False)
class _Pending:
    correlation_id: int
    api_key: ApiKey
    version: int
    deadline: float
    on_response: OnResponse | None


@attrs.define(eq=False)
class Connection:
    """An open connection. `run` must run in a task; it returns when the connection has ended."""

    address: Address
    client_id: str
    _transport: Transport
    versions: dict[int, tuple[int, int]] = attrs.Factory(dict)
    """What the broker accepts: api key → (lowest, highest)."""
    error: KafkaError | None = None
    """Why it ended; None while it is usable."""
    _pending: deque[_Pending] = attrs.Factory(deque)
    _outgoing: deque[Buffer] = attrs.Factory(deque)
    _on_sent: list[OnResponse] = attrs.Factory(list)
    _must_write: trio.Event = attrs.Factory(trio.Event)
    _scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    """Of the reader."""
    _alarm: trio.CancelScope = attrs.Factory(trio.CancelScope)
    """Ends when it is to be looked whether the oldest request has waited for too long."""
    _correlation_id: int = 0

    def version_of(self, api_key: ApiKey, highest: int | None = None) -> int:
        """The highest version both sides speak, and not above `highest`. Raises NotSupportedByBroker."""
        ours = api_key.max_version if highest is None else min(highest, api_key.max_version)
        broker_lowest, broker_highest = self.versions.get(api_key, (0, -1))
        version = min(ours, broker_highest)
        if version < max(api_key.min_version, broker_lowest):
            theirs = f"in versions {broker_lowest} to {broker_highest}" if broker_highest >= 0 else "in no version"
            raise NotSupportedByBroker(
                f"the broker at {self.address} speaks {api_key.camel_name} {theirs}; "
                f"needed is one of {api_key.min_version} to {ours}"
            )
        return version

    # Requests.

    def submit(self, message: Request[Any], version: int, timeout_s: float, on_response: OnResponse) -> None:
        """Send a request and have `on_response` called. Raises the connection's error if it has ended."""
        if self.error is not None:
            raise self.error
        api_key = message.api
        self._correlation_id = correlation_id = (self._correlation_id + 1) & 0x7FFFFFFF
        deadline = trio.current_time() + timeout_s
        pending = _Pending(correlation_id, api_key, version, deadline, on_response)
        if not self._pending:
            self._alarm.deadline = deadline
        self._pending.append(pending)
        self._send(encode_request(correlation_id, self.client_id, message, version))

    def submit_unanswered(self, message: Request[Any], version: int, on_sent: OnResponse) -> None:
        """Send a request that gets no response (Produce with acks=0); `on_sent` is called once it was written."""
        if self.error is not None:
            raise self.error
        self._correlation_id = (self._correlation_id + 1) & 0x7FFFFFFF
        self._on_sent.append(on_sent)
        self._send(encode_request(self._correlation_id, self.client_id, message, version))
        if not self._outgoing:
            self._call_sent(None)

    async def request(
        self, message: Request[ResponseT], *, highest: int | None = None, timeout_s: float = 30.0
    ) -> ResponseT:
        """Send a request and wait for its response.

        Raises ConnectionLost, RequestTimeout or NotSupportedByBroker; error codes inside the response are the
        caller's business. A cancelled request leaves the connection usable.
        """
        task = trio.lowlevel.current_task()

        def on_response(response: Any, error: KafkaError | None) -> None:
            trio.lowlevel.reschedule(task, outcome.Value(response) if error is None else outcome.Error(error))

        self.submit(message, self.version_of(message.api, highest), timeout_s, on_response)
        pending = self._pending[-1]

        def abort(_: Callable[[], None]) -> trio.lowlevel.Abort:
            pending.on_response = None
            return trio.lowlevel.Abort.SUCCEEDED

        response: ResponseT = await trio.lowlevel.wait_task_rescheduled(abort)
        return response

    def _send(self, buffers: list[Any]) -> None:
        idle = not self._outgoing
        self._outgoing.extend(buffers)
        if idle:
            with contextlib.suppress(OSError):  # the reader meets the same error and reports it
                self._transport.send_some(self._outgoing)
        if self._outgoing:
            self._must_write.set()

    # The life of the connection.

    async def run(self) -> None:
        """Receive responses until the connection ends; then every request under way gets the error."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._watch)
                with self._scope:
                    await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self._end(ConnectionLost(f"the connection to {self.address} was closed"))
            with trio.CancelScope(shield=True):
                await self._transport.aclose()

    def close(self, reason: str = "closed by this client") -> None:
        """End it; requests under way get ConnectionLost."""
        self._end(ConnectionLost(f"the connection to {self.address} was {reason}"))
        self._scope.cancel()

    async def _watch(self) -> None:
        """End the connection when the oldest request is too late; not if its answer has come in the last moment."""
        while not self._pending or self._next_deadline() > trio.current_time():
            self._alarm = trio.CancelScope(deadline=self._next_deadline())
            with self._alarm:
                await trio.sleep_forever()
            await trio.lowlevel.checkpoint()  # for a reader that has the answer already
        late = self._pending[0].api_key.camel_name
        self._end(RequestTimeout(f"the broker at {self.address} did not answer {late} in time"))
        self._scope.cancel()

    def _next_deadline(self) -> float:
        return self._pending[0].deadline if self._pending else float("inf")

    def _end(self, error: KafkaError) -> None:
        if self.error is None:
            self.error = error
        self._call_sent(self.error)
        while self._pending:
            pending = self._pending.popleft()
            if pending.on_response is not None:
                pending.on_response(None, self.error)

    def _call_sent(self, error: KafkaError | None) -> None:
        callbacks, self._on_sent = self._on_sent, []
        for on_sent in callbacks:
            on_sent(None, error)

    async def _write(self) -> None:
        try:
            while True:
                await self._must_write.wait()
                self._must_write = trio.Event()
                await self._transport.send_all(self._outgoing)
                self._call_sent(None)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.close(f"lost: {error}")

    async def _read(self) -> None:
        try:
            await self._read_frames()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._end(ConnectionLost(f"the connection to {self.address} was lost: {error}"))
        except ProtocolError as error:
            self._end(ConnectionLost(f"what answers at {self.address} does not speak Kafka's protocol: {error}"))

    async def _read_frames(self) -> None:
        """Cut the stream into frames of a 4-byte length and that many bytes."""
        buffer = bytearray(RECEIVE_BYTES)
        view = memoryview(buffer)
        start = end = reads = 0
        while True:
            while end - start >= 4:
                length = int.from_bytes(view[start : start + 4])
                if not 4 <= length <= MAX_FRAME_BYTES:
                    raise ProtocolError(f"a response of {length} bytes")
                if end - start - 4 >= length:
                    start += 4 + length
                    self._on_frame(memoryview(bytes(view[start - length : start])))
                elif length + 4 > RECEIVE_BYTES:
                    await self._read_large(length, view[start + 4 : end])
                    start = end = 0
                else:
                    break
            if start:
                buffer[: end - start] = buffer[start:end]
                start, end = 0, end - start
            reads += 1
            if not reads % READS_PER_CHECKPOINT:
                await trio.lowlevel.checkpoint()
            received = await self._transport.receive_into(view[end:])
            if not received:
                self._end(ConnectionLost(f"the broker at {self.address} closed the connection"))
                return
            end += received

    async def _read_large(self, length: int, begun: memoryview) -> None:
        frame = memoryview(bytearray(length))
        position = len(begun)
        frame[:position] = begun
        while position < length:
            received = await self._transport.receive_into(frame[position:])
            if not received:
                raise ConnectionResetError("closed in the middle of a response")
            position += received
        self._on_frame(frame)

    def _on_frame(self, frame: memoryview) -> None:
        if not self._pending:
            raise ProtocolError("a response that nobody asked for")
        pending = self._pending.popleft()
        self._alarm.deadline = self._next_deadline()
        try:
            response = self._decode(pending, frame)
        except ProtocolError:
            self._pending.appendleft(pending)  # it ends with the connection's error, as the others do
            raise
        if pending.on_response is not None:
            pending.on_response(response, None)

    def _decode(self, pending: _Pending, frame: memoryview) -> Any:
        version = pending.version
        correlation_id, position = decode_response_header(frame, pending.api_key, version)
        if correlation_id != pending.correlation_id:
            raise ProtocolError(f"response {correlation_id} to request {pending.correlation_id}")
        if pending.api_key is ApiKey.API_VERSIONS and frame[position : position + 2] == UNSUPPORTED:
            version = 0  # KIP-511: whatever was asked, this refusal has the layout of version 0
        return decode_message(response_class(pending.api_key), version, frame, position)


UNSUPPORTED = ErrorCode.UNSUPPORTED_VERSION.to_bytes(2)
