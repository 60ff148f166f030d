"""Connections that do nothing but be there."""

from __future__ import annotations

import sys

import attrs

from minibroker.load.wire import Wire
from minibroker.protocol.messages.api_versions import ApiVersionsRequest


@attrs.frozen(kw_only=True)
class IdleSpec:
    """How many."""

    address: str
    connections: int


def run_idle(spec: IdleSpec) -> dict[str, float]:
    """Connect, introduce each connection as a client does, say so in one line, and wait to be killed."""
    wires = [Wire(spec.address) for _ in range(spec.connections)]
    for wire in wires:
        wire.ask(ApiVersionsRequest(), 0)
    print("ready", flush=True)
    sys.stdin.read()
    return {"connections": len(wires)}
