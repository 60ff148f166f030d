"""What the client itself can find wrong. One family: everything it raises is a KafkaError.

Errors that a broker answers are the subclasses of KafkaError in `minibroker.protocol.errors`. Those below are the
client's own; they carry the code that comes closest, and say what to check.
"""

from __future__ import annotations

from minibroker.protocol.errors import ErrorCode, KafkaError


class ClientError(KafkaError):
    """Base of what the client finds by itself, not from a broker's answer."""

    code = ErrorCode.UNKNOWN_SERVER_ERROR

    def __str__(self) -> str:
        return self.message


class ConnectionFailed(ClientError):
    """A connection could not be made. The message names the address, the reason and what to check."""

    code = ErrorCode.NETWORK_EXCEPTION


class ConnectionLost(ClientError):
    """An established connection broke while a request was under way; the broker may have carried it out."""

    code = ErrorCode.NETWORK_EXCEPTION


class RequestTimeout(ClientError):
    """No (good) answer within the time allowed; the message tells the last thing that went wrong."""

    code = ErrorCode.REQUEST_TIMED_OUT


class DeliveryTimeout(ClientError):
    """A record was not acknowledged within `delivery_timeout_ms`. It may nevertheless have been stored."""

    code = ErrorCode.REQUEST_TIMED_OUT


class BufferFull(ClientError):
    """`send_nowait` found no room in the producer's buffer memory."""

    code = ErrorCode.UNKNOWN_SERVER_ERROR


class ClientClosed(ClientError):
    """It was used outside its `async with` block, or closed before this could be done."""

    code = ErrorCode.UNKNOWN_SERVER_ERROR


class NotSupportedByBroker(ClientError):
    """The broker speaks no version of this API that this client speaks."""

    code = ErrorCode.UNSUPPORTED_VERSION


class NoOffset(ClientError):
    """A partition has no valid position, and `auto_offset_reset` is "error"."""

    code = ErrorCode.OFFSET_OUT_OF_RANGE
