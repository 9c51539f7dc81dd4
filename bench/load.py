"""The process that calls the services: `python -m bench.load` reads a job a line, as JSON, and answers each so.

Calls go through grpc's own channel with ready-made bytes, so that the client costs as little as it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from itertools import count
from time import monotonic, perf_counter, time
from typing import Any, Final

import grpc.aio
import uvloop

from beautymesh.inventory.v1 import availability_pb2, catalogue_pb2, reservation_pb2, stock_pb2, watch_pb2
from bench import bare
from bench.echo import METHOD as ECHO
from meshkit.core.ids import new_id
from meshkit.rpc.options import MESSAGE_BYTES_MAX

SERVICE: Final = "/beautymesh.inventory.v1.InventoryService"
LOCATION: Final = "WH"
UNITS: Final = 100_000_000
DEADLINE_SECONDS: Final = 30.0
ROWS_PER_CALL: Final = 1_000

Job = dict[str, Any]


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


def reserve_requests(skus: int) -> Iterator[bytes]:
    """`ReserveStock` requests, each of one unit under an id of its own, in turn over the SKUs."""
    lines = [
        reservation_pb2.ReserveStockRequest(
            lines=[reservation_pb2.ReserveLine(sku=sku(number), location=LOCATION, quantity=1)]
        ).SerializeToString()
        for number in range(skus)
    ]
    run = new_id()
    for number in count():
        request_id = f"{run}-{number}".encode()
        yield b"\x0a" + bytes((len(request_id),)) + request_id + lines[number % skus]


def availability_requests(skus: int) -> Iterator[bytes]:
    """`GetAvailability` requests in turn over the SKUs."""
    requests = [availability_pb2.GetAvailabilityRequest(sku=sku(number)).SerializeToString() for number in range(skus)]
    for number in count():
        yield requests[number % skus]


async def prepare(job: Job) -> Job:
    """Makes the SKUs and the location, and puts more units there than any case takes."""
    client = Client(job)
    upsert = catalogue_pb2.BatchUpsertSkusRequest(
        request_id="bench-skus", skus=[catalogue_pb2.Sku(sku=sku(n), name=f"Product {n}") for n in range(job["skus"])]
    )
    places = catalogue_pb2.BatchUpsertLocationsRequest(
        request_id="bench-places", locations=[catalogue_pb2.Location(location=LOCATION, name="Warehouse")]
    )
    await client.unary(f"{SERVICE}/BatchUpsertSkus")(upsert.SerializeToString())
    await client.unary(f"{SERVICE}/BatchUpsertLocations")(places.SerializeToString())
    for start in range(0, job["skus"], ROWS_PER_CALL):
        lines = [
            stock_pb2.StockLine(sku=sku(n), location=LOCATION, quantity=UNITS)
            for n in range(start, min(start + ROWS_PER_CALL, job["skus"]))
        ]
        receive = stock_pb2.ReceiveStockRequest(request_id=f"bench-stock-{start}", lines=lines)
        await client.unary(f"{SERVICE}/ReceiveStock")(receive.SerializeToString())
    await client.close()
    return {}


async def rate(job: Job) -> Job:
    """Calls as fast as `clients` callers can, each waiting for its answer; the first moments do not count."""
    method, requests = {
        "reserve": (f"{SERVICE}/ReserveStock", reserve_requests),
        "echo": (ECHO, reserve_requests),
        "availability": (f"{SERVICE}/GetAvailability", availability_requests),
    }[job["what"]]
    client = Client(job)
    call, each_request = client.unary(method), requests(job["skus"])
    begin = monotonic() + job["warm_seconds"]
    end = begin + job["seconds"]
    latencies: list[float] = []

    async def caller() -> None:
        while (sent := monotonic()) < end:
            await call(next(each_request))
            answered = monotonic()
            if begin <= answered <= end:
                latencies.append(answered - sent)

    await asyncio.gather(*(caller() for _ in range(job["clients"])))
    await client.close()
    return {"per_second": len(latencies) / job["seconds"], **_percentiles_ms(latencies)}


async def batch(job: Job) -> Job:
    """One `BatchReserveStock` after the other; seconds of each."""
    client = Client(job)
    call = client.unary(f"{SERVICE}/BatchReserveStock")
    request = reservation_pb2.BatchReserveStockRequest(
        reservations=[
            reservation_pb2.ReserveEntry(
                lines=[reservation_pb2.ReserveLine(sku=sku(number), location=LOCATION, quantity=1)]
            )
            for number in range(job["reservations"])
        ]
    )
    seconds = []
    for _ in range(job["calls"]):
        request.request_id = new_id()
        body = request.SerializeToString()
        begun = perf_counter()
        reply = await call(body)
        seconds.append(perf_counter() - begun)
        results = reservation_pb2.BatchReserveStockResponse.FromString(reply).results
        assert all(each.HasField("reserved") for each in results), "a reservation of the bench was refused"
    await client.close()
    return {"seconds": seconds}


async def steady(job: Job) -> Job:
    """Reserves at a fixed rate, whether or not earlier calls are answered; latency counts from when a call was due."""
    client = Client(job)
    call, each_request = client.unary(f"{SERVICE}/ReserveStock"), reserve_requests(job["skus"])
    latencies: list[float] = []

    async def one(due: float) -> None:
        await call(next(each_request))
        latencies.append(monotonic() - due)

    begin = monotonic()
    calls = round(job["per_second"] * job["seconds"])
    async with asyncio.TaskGroup() as tasks:
        for number in range(calls):
            due = begin + number / job["per_second"]
            if (ahead := due - monotonic()) > 0:
                await asyncio.sleep(ahead)
            tasks.create_task(one(due))
    await client.close()
    return {"per_second": calls / (monotonic() - begin), **_percentiles_ms(latencies)}


async def watch(job: Job) -> Job:
    """Follows the stock with many streams; how old each level delta is when it arrives, counted from its record time.

    Record time is taken under the log's lock before the batch is decided and committed, by a clock of this machine: so
    a delta's age includes the commit itself.
    """
    clients = [Client(job) for _ in range(job["channels"])]
    ages: list[float] = []

    async def follow(client: Client) -> None:
        stream = client.watch(watch_pb2.WatchStockRequest(skip_snapshot=True))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(job["seconds"]):
                async for message in stream:
                    now = time()
                    ages.extend(
                        now - delta.record_time.seconds - delta.record_time.nanos / 1e9
                        for delta in message.deltas.deltas
                        if delta.HasField("level")
                    )
        stream.cancel()

    await asyncio.gather(*(follow(clients[n % len(clients)]) for n in range(job["streams"])))
    for client in clients:
        await client.close()
    return {"deltas": len(ages), **_percentiles_ms(ages)}


def _percentiles_ms(seconds: list[float]) -> Job:
    if not seconds:
        return {"p50_ms": None, "p99_ms": None}
    ordered = sorted(seconds)
    return {f"p{n}_ms": round(1e3 * ordered[min(len(ordered) - 1, len(ordered) * n // 100)], 2) for n in (50, 99)}


JOBS: Final[dict[str, Callable[[Job], Coroutine[Any, Any, Job]]]] = {
    "prepare": prepare,
    "rate": rate,
    "batch": batch,
    "bare": bare.batches,
    "flush": bare.flushes,
    "steady": steady,
    "watch": watch,
}


def main() -> None:
    """Does the jobs, one after the other."""
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(uvloop.run(JOBS[job.pop("job")](job))), flush=True)


if __name__ == "__main__":
    main()
