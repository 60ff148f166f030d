"""ListTransactions (66): lists the transactions this broker coordinates (KIP-664).

v1 filters by duration (KIP-994), v2 by a pattern of the id (KIP-1152).
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from minibroker.protocol.api import ApiKey
from minibroker.protocol.schema import Request, Response, array, int16, int32, int64, string


@attrs.define(kw_only=True)
class ListTransactionsRequest(Request["ListTransactionsResponse"]):
    """Asks for all transactions, or those that pass every filter."""

    api: ClassVar = ApiKey.LIST_TRANSACTIONS

    state_filters: list[str] = array(string)
    producer_id_filters: list[int] = array(int64)
    duration_filter: int = int64("1+", default=-1)
    transactional_id_pattern: str | None = string("2+", nullable="2+", default=None)


@attrs.define(kw_only=True)
class TransactionState:
    """A transaction in brief."""

    transactional_id: str = string()
    producer_id: int = int64()
    transaction_state: str = string()


@attrs.define(kw_only=True)
class ListTransactionsResponse(Response):
    """The transactions, and which of the states asked for do not exist."""

    api: ClassVar = ApiKey.LIST_TRANSACTIONS

    throttle_time_ms: int = int32()
    error_code: int = int16()
    unknown_state_filters: list[str] = array(string)
    transaction_states: list[TransactionState] = array(TransactionState)
