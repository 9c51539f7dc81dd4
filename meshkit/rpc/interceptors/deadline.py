"""Third stage: every unary call has a deadline, and none is begun that has no time left."""

from __future__ import annotations

from typing import Any, cast

import grpc.aio

from meshkit.core.errors import DeadlineExceeded


class Deadlines:
    """Says by when a call must be answered."""

    __slots__ = ("_default_seconds", "_margin_seconds")

    def __init__(self, *, default_seconds: float, margin_seconds: float) -> None:
        """`margin_seconds` is what it takes to do anything at all: a call with less left is refused."""
        self._default_seconds = default_seconds
        self._margin_seconds = margin_seconds

    def admit(
        self, context: grpc.aio.ServicerContext[Any, Any], now: float, *, streaming: bool
    ) -> tuple[float | None, bool]:
        """The deadline in the loop's time, and whether it is ours to enforce.

        grpc cancels the handler at the caller's own deadline; one that we set by default we must enforce ourselves.
        A stream without a deadline stays without.

        Raises:
            DeadlineExceeded: if less than the margin is left.
        """
        remaining = cast("float | None", context.time_remaining())  # None where the caller set no deadline
        if remaining is None:
            return (None, False) if streaming else (now + self._default_seconds, True)
        if remaining < self._margin_seconds:
            left_ms = f"{remaining * 1e3:.1f}"
            raise DeadlineExceeded("too little time is left to begin", metadata={"remaining_ms": left_ms})
        return now + remaining, False
