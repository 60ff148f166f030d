"""Warnings about peers: a peer can give cause for thousands of them a second."""

from __future__ import annotations

import logging

import attrs
import trio

logger = logging.getLogger(__name__)

AT_ONCE = 50
"""So many are logged as they come, and then one a second."""


@attrs.define(eq=False)
class Complaints:
    """Those of one broker."""

    _allowed: float = AT_ONCE
    """How many may be logged at `_at`, on the monotonic clock."""
    _at: float = 0.0
    _left_out: int = 0

    def warn(self, text: str, *arguments: object) -> None:
        """Log a warning as `logging` does, unless there are too many; the next one that is logged tells how many were not."""
        now = trio.current_time()
        self._allowed = min(AT_ONCE, self._allowed + now - self._at)
        self._at = now
        if self._allowed < 1:
            self._left_out += 1
            return
        self._allowed -= 1
        if self._left_out:
            text, arguments = f"{text} (and %d more such warnings)", (*arguments, self._left_out)
            self._left_out = 0
        logger.warning(text, *arguments)
