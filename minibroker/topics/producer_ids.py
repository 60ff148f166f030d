"""Producer ids: drawn from blocks that are reserved in the metadata log, so none is ever given out twice."""

from __future__ import annotations

import attrs

from minibroker.topics.catalog import Catalog
from minibroker.topics.metadata import PRODUCER_IDS_KEY, ProducerIdsRecord

BLOCK = 1000
"""As many as Kafka's brokers fetch from their controller at a time. A restart skips what is left of a block."""


@attrs.define(eq=False)
class ProducerIds:
    """Gives out producer ids."""

    _catalog: Catalog
    _next: int = 0
    _block_end: int = 0

    def next_id(self) -> tuple[int, int]:
        """Return an id and the ticket of the flush round after which it may be told. Raises KafkaStorageError."""
        if self._next == self._block_end:
            start = self._catalog.state.next_producer_id
            self._catalog.record(PRODUCER_IDS_KEY, ProducerIdsRecord(next_id=start + BLOCK))
            self._next, self._block_end = start, start + BLOCK
        self._next += 1
        return self._next - 1, self._catalog.flush_ticket()
