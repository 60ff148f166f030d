"""InitProducerId (22), versions 0-5: a fresh producer id for an idempotent producer (KIP-98).

An id is never given out twice: the block it comes from is durable before the answer. An idempotent producer that asks
again (v3, KIP-360) gets a new id, as on Kafka. Left out: transactional ids, with the other transaction APIs.
"""

from __future__ import annotations

from minibroker.handlers.context import AfterFlush, RequestContext
from minibroker.protocol.errors import InvalidRequest
from minibroker.protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse


def handle(request: InitProducerIdRequest, context: RequestContext) -> AfterFlush:
    """Give out the next id. Raises InvalidRequest for a transactional producer."""
    if request.transactional_id is not None:
        raise InvalidRequest("transactions are not supported yet: leave transactional.id unset")
    producer_id, ticket = context.services.producer_ids.next_id()
    return AfterFlush(InitProducerIdResponse(producer_id=producer_id, producer_epoch=0), ticket)
