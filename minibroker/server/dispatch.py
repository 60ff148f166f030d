"""From the bytes of a request to a handler, and from its reply to the bytes of a response."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from types import CoroutineType
from typing import Any

import attrs

from minibroker.handlers.context import AfterFlush, Endpoint, RequestContext, Services
from minibroker.handlers.registry import BY_KEY, Api
from minibroker.protocol.api import ApiKey, request_class, response_class
from minibroker.protocol.codec import decode
from minibroker.protocol.errors import KafkaError, ProtocolError, TooManyElements
from minibroker.protocol.framing import RequestHeader, decode_request_header, encode_response
from minibroker.server.transport import Buffer
from minibroker.storage.reading import FileSlice

ELEMENTS_PER_PARTITION = 4
"""How many more elements a request may have for each partition that there is: one asked for and one forgotten, each in a
topic of its own, is the most that a fetch has."""
DECODED_FACTOR = 16
"""How much larger than its bytes a request full of small elements becomes."""
MOST_DECODED_BYTES = 1 << 21
"""What its elements take at most, since they are limited; what is large beyond that is records and the like."""


@attrs.define(eq=False)
class Sendable:
    """An encoded response, and the flush round that it has to wait for (0: none)."""

    parts: list[Buffer | FileSlice]
    ticket: int
    held_bytes: int
    """Memory that it takes; file slices take none."""

    @classmethod
    def of(cls, parts: list[Buffer | FileSlice], ticket: int = 0) -> Sendable:
        """Of the parts of a response."""
        if len(parts) == 1 and type(parts[0]) is bytearray:
            return cls(parts, ticket, len(parts[0]))
        return cls(parts, ticket, sum([len(part) for part in parts if not isinstance(part, FileSlice)]))


@attrs.define(eq=False)
class Waiting:
    """A response that has to be waited for."""

    reply: Coroutine[Any, Any, Any]
    encode: Callable[[Any], Sendable]
    refuse: Callable[[KafkaError], Any]
    in_order: bool
    """Whether no later request may be started before it is there."""
    held_bytes: int
    """About how much memory its request takes."""

    async def wait(self) -> Sendable:
        """Return the response when it is there."""
        try:
            response = await self.reply
        except KafkaError as error:
            response = self.refuse(error)
        return self.encode(response)

    def close(self) -> None:
        """Nobody wants it any more."""
        self.reply.close()


@attrs.define(eq=False)
class Dispatcher:
    """Answers the requests of the connections of one listener."""

    services: Services
    endpoint: Endpoint

    def dispatch(self, frame: memoryview, client_host: str) -> Sendable | Waiting | None:
        """Start the request in `frame`. Raises ProtocolError for bytes that are none, or one that we do not serve.

        Returns its response, one that has to be waited for, or None where no answer is wanted.
        """
        header, position = decode_request_header(frame)
        api = BY_KEY.get(header.api_key)
        if api is None:
            raise ProtocolError(f"expected the key of an API that we serve, found {header.api_key}")
        if not api.advertised_min_version <= header.api_version <= api.max_version:
            return self._refuse_version(api, header)
        context = RequestContext(
            services=self.services,
            version=header.api_version,
            client_id=header.client_id,
            client_host=client_host,
            endpoint=self.endpoint,
        )
        try:
            # What follows the request is passed over, as on Kafka: librdkafka asks for all topics with three bytes too many.
            request = self._decode(api.key, header.api_version, frame, position)
            reply = api.handle(request, context)
        except KafkaError as error:
            reply = self._error_response(api, error)
        if reply is None:
            return None
        if type(reply) is CoroutineType:
            encode = partial(self._encode, api=api, header=header)
            return Waiting(reply, encode, partial(self._error_response, api), api.in_order, decoded_bytes(len(frame)))
        return self._encode(reply, api, header)

    def _decode(self, key: ApiKey, version: int, frame: memoryview, position: int) -> Any:
        cls = request_class(key)
        try:
            return decode(cls, version, frame, position)[0]
        except TooManyElements:
            partitions = sum([len(topic.partitions) for topic in self.services.catalog.topics.values()])
            most = cls.max_elements + ELEMENTS_PER_PARTITION * partitions
            return decode(cls, version, frame, position, most)[0]

    def _encode(self, reply: Any, api: Api, header: RequestHeader) -> Sendable:
        ticket = 0
        if reply is None:
            return Sendable.of([])
        if type(reply) is AfterFlush:
            if reply.ticket > self.services.flusher.completed:
                ticket = reply.ticket
            reply = reply.response
        return Sendable.of(encode_response(header.correlation_id, api.key, header.api_version, reply), ticket)

    def _refuse_version(self, api: Api, header: RequestHeader) -> Sendable:
        """ApiVersions alone survives an unknown version: it is answered in the layout of v0 (KIP-511)."""
        if api.key != ApiKey.API_VERSIONS:
            raise _unsupported(api, header)
        from minibroker.handlers.api_versions import unsupported_version  # not needed before a stranger asks

        return Sendable.of(encode_response(header.correlation_id, api.key, 0, unsupported_version()))

    def _error_response(self, api: Api, error: KafkaError) -> Any:
        """The one place where a Kafka error that concerns a whole request becomes its response."""
        response: Any = response_class(api.key)
        return response(error_code=error.code)


def decoded_bytes(frame_bytes: int) -> int:
    """About how much memory a request of that size takes at most."""
    return frame_bytes + min(DECODED_FACTOR * frame_bytes, MOST_DECODED_BYTES)


def _unsupported(api: Api, header: RequestHeader) -> ProtocolError:
    return ProtocolError(
        f"expected {api.key.name} version {api.min_version} to {api.max_version}, found {header.api_version}"
    )
