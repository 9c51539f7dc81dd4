"""How long and how often everything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long and how often each case is measured."""

    rounds: int
    window_seconds: float
    warm_seconds: float
    batch_calls: int
    stream_seconds: float
    flushes: int
    read_seconds: int
    """Window of cached reads; wrk counts in whole seconds."""
    overhead_seconds: float
    """Window of one RPC by REST or by gRPC; there are eight of them a round, in half as many rounds."""
    checkout_seconds: float
    fanout_seconds: float
    clients: int = 256
    streams: int = 50
    commands_per_second: int = 1_000
    http_connections: int = 64
    overhead_clients: int = 32
    checkouts_per_second: tuple[int, ...] = (25, 150)
    """A calm rate, and the one that is aimed at."""
    shoppers: int = 32
    """Who come back at once: what they get answered is what the mesh can."""
    event_streams: int = 200
    fanout_commands_per_second: int = 50


FULL: Final = Sizes(
    rounds=7,
    window_seconds=4.0,
    warm_seconds=0.7,
    batch_calls=5,
    stream_seconds=20.0,
    flushes=300,
    read_seconds=2,
    overhead_seconds=1.5,
    checkout_seconds=10.0,
    fanout_seconds=15.0,
)
QUICK: Final = Sizes(
    rounds=3,
    window_seconds=0.7,
    warm_seconds=0.3,
    batch_calls=2,
    stream_seconds=3.0,
    flushes=100,
    read_seconds=1,
    overhead_seconds=0.4,
    checkout_seconds=2.0,
    fanout_seconds=3.0,
)
