"""InitProducerId (22): hands out a producer id and epoch, and ends what an older producer of the same name left open.

- v2 is flexible.
- v3 lets a producer keep its id and raise its epoch after an error (KIP-360).
- v4 may answer PRODUCER_FENCED, v5 TRANSACTION_ABORTABLE (KIP-890).

v6 (two-phase commit, KIP-939) is still marked unstable in Kafka 4.3 and left out.
"""

from __future__ import annotations

import attrs

from minibroker.protocol.schema import Request, Response, int16, int32, int64, string


@attrs.define(kw_only=True)
class InitProducerIdRequest(Request["InitProducerIdResponse"]):
    """Asks for a producer id; without a transactional id, for idempotence alone."""

    transactional_id: str | None = string(nullable="0+")
    transaction_timeout_ms: int = int32()
    producer_id: int = int64("3+", default=-1)
    producer_epoch: int = int16("3+", default=-1)


@attrs.define(kw_only=True)
class InitProducerIdResponse(Response):
    """The producer id, new or kept, and the epoch to write with."""

    throttle_time_ms: int = int32()
    error_code: int = int16()
    producer_id: int = int64(default=-1)
    producer_epoch: int = int16()
