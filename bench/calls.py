"""How a load process calls by gRPC, and the goods that it calls about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc.aio

from beautymesh.inventory.v1 import watch_pb2
from meshkit.rpc.options import MESSAGE_BYTES_MAX

Job = dict[str, Any]
"""What a load process is asked, or answers: JSON."""

SERVICE: Final = "/beautymesh.inventory.v1.InventoryService"
LOCATION: Final = "WH"
UNITS: Final = 100_000_000
DEADLINE_SECONDS: Final = 30.0


def sku(number: int) -> str:
    """The code of one of the SKUs that `prepare` makes."""
    return f"SKU-{number:05d}"


class Client:
    """One channel to one process."""

    def __init__(self, job: Job) -> None:
        options = [
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ]
        self._channel = grpc.aio.insecure_channel(job["address"], options)
        self._metadata = (("authorization", f"Bearer {job['token']}"),)

    def unary(self, method: str) -> Callable[[bytes], Awaitable[bytes]]:
        """Calls a method with bytes; answers bytes."""
        multicallable: Any = self._channel.unary_unary(method)

        def call(request: bytes) -> Awaitable[bytes]:
            answer: Awaitable[bytes] = multicallable(request, metadata=self._metadata, timeout=DEADLINE_SECONDS)
            return answer

        return call

    def watch(self, request: watch_pb2.WatchStockRequest) -> Any:  # noqa: ANN401  # grpc's call, generic without its stub
        """Opens a stream of what changes."""
        multicallable: Any = self._channel.unary_stream(
            f"{SERVICE}/WatchStock", response_deserializer=watch_pb2.WatchStockResponse.FromString
        )
        return multicallable(request.SerializeToString(), metadata=self._metadata)

    async def close(self) -> None:
        """Ends everything."""
        await self._channel.close()


def percentiles_ms(seconds: list[float]) -> Job:
    """The median and the 99th percentile, in milliseconds; None where nothing was measured."""
    if not seconds:
        return {"p50_ms": None, "p99_ms": None}
    ordered = sorted(seconds)
    return {f"p{n}_ms": round(1e3 * ordered[min(len(ordered) - 1, len(ordered) * n // 100)], 2) for n in (50, 99)}
