"""DescribeTransactions (65): shows transactions by their ids (KIP-664)."""

from __future__ import annotations

from typing import ClassVar

import attrs

from minibroker.protocol.api import ApiKey
from minibroker.protocol.schema import Request, Response, array, int16, int32, int64, string


@attrs.define(kw_only=True)
class DescribeTransactionsRequest(Request["DescribeTransactionsResponse"]):
    """Asks about transactional ids."""

    api: ClassVar = ApiKey.DESCRIBE_TRANSACTIONS

    transactional_ids: list[str] = array(string)


@attrs.define(kw_only=True)
class TopicData:
    """Partitions of one topic."""

    topic: str = string()
    partitions: list[int] = array(int32)


@attrs.define(kw_only=True)
class TransactionState:
    """A transaction, with the partitions it has written to."""

    error_code: int = int16()
    transactional_id: str = string()
    transaction_state: str = string()
    transaction_timeout_ms: int = int32()
    transaction_start_time_ms: int = int64()
    producer_id: int = int64()
    producer_epoch: int = int16()
    topics: list[TopicData] = array(TopicData)


@attrs.define(kw_only=True)
class DescribeTransactionsResponse(Response):
    """The transactions."""

    api: ClassVar = ApiKey.DESCRIBE_TRANSACTIONS

    throttle_time_ms: int = int32()
    transaction_states: list[TransactionState] = array(TransactionState)
