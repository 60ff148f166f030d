"""How long to wait before trying again: exponential, with jitter, up to a ceiling (KIP-580)."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs

JITTER = 0.2
"""A pause is spread by ± 20 %, so that the clients of a restarted broker do not come back all at once."""


@attrs.frozen(kw_only=True)
class Backoff:
    """Kafka's `retry.backoff.ms` and `retry.backoff.max.ms` (or the `reconnect.` pair)."""

    initial_ms: float = 100
    maximum_ms: float = 1000
    uniform: Callable[[float, float], float] = random.uniform

    def pause_s(self, failures: int) -> float:
        """Seconds to wait after that many failures in a row (the first failure is 1)."""
        pause_ms = min(self.initial_ms * 2.0 ** min(failures - 1, 32), self.maximum_ms)
        return pause_ms * self.uniform(1 - JITTER, 1 + JITTER) / 1000
