"""The process that calls the services: `python -m bench.load` reads a job a line, as JSON, and answers each so.

Calls go through grpc's own channel with ready-made bytes, so that the client costs as little as it can.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from itertools import count, repeat
from time import monotonic, perf_counter
from typing import Any, Final

import uvloop

from beautymesh.inventory.v1 import availability_pb2, catalogue_pb2, reservation_pb2, stock_pb2
from bench import bare, codec, fanout, rest, shop
from bench.calls import LOCATION, SERVICE, UNITS, Client, Job, percentiles_ms, sku
from bench.echo import METHOD as ECHO
from meshkit.core.ids import new_id

ROWS_PER_CALL: Final = 1_000


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


def get_requests(reservation_id: str, _skus: int) -> Iterator[bytes]:
    """`GetReservation` requests, all for the same one."""
    return repeat(reservation_pb2.GetReservationRequest(reservation_id=reservation_id).SerializeToString())


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
    loads: dict[str, tuple[str, Callable[[int], Iterator[bytes]]]] = {
        "reserve": (f"{SERVICE}/ReserveStock", reserve_requests),
        "echo": (ECHO, reserve_requests),
        "availability": (f"{SERVICE}/GetAvailability", availability_requests),
        "get": (f"{SERVICE}/GetReservation", partial(get_requests, job.get("reservation_id", ""))),
    }
    method, requests = loads[job["what"]]
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
    return {"per_second": len(latencies) / job["seconds"], **percentiles_ms(latencies)}


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
    """Reserves at a fixed rate, whether or not earlier calls are answered; latency counts from when a call was due.

    `revision` is the last that was written.
    """
    client = Client(job)
    call, each_request = client.unary(f"{SERVICE}/ReserveStock"), reserve_requests(job["skus"])
    latencies: list[float] = []
    revision = 0

    async def one(due: float) -> None:
        nonlocal revision
        reply = await call(next(each_request))
        latencies.append(monotonic() - due)
        revision = max(revision, reservation_pb2.ReserveStockResponse.FromString(reply).revision)

    begin = monotonic()
    calls = round(job["per_second"] * job["seconds"])
    async with asyncio.TaskGroup() as tasks:
        for number in range(calls):
            due = begin + number / job["per_second"]
            if (ahead := due - monotonic()) > 0:
                await asyncio.sleep(ahead)
            tasks.create_task(one(due))
    await client.close()
    return {"revision": revision, "per_second": calls / (monotonic() - begin), **percentiles_ms(latencies)}


class Lines:
    """The bench at the other end of standard input and output, a line of JSON each way."""

    def say(self, told: Job) -> None:
        """Tells the bench something."""
        print(json.dumps(told), flush=True)

    async def hear(self) -> Job:
        """The next that the bench tells."""
        told: Job = json.loads(await asyncio.to_thread(sys.stdin.readline))
        return told


LINES: Final = Lines()
JOBS: Final[dict[str, Callable[[Job], Coroutine[Any, Any, Job]]]] = {
    "prepare": prepare,
    "rate": rate,
    "batch": batch,
    "bare": bare.batches,
    "flush": bare.flushes,
    "steady": steady,
    "watch": partial(fanout.watch, talk=LINES),
    "rest": rest.rate,
    "codec": codec.compare,
    "shop": shop.prepare,
    "arrivals": shop.arrivals,
    "crowd": shop.crowd,
    "fanout": partial(fanout.follow, talk=LINES),
}


def main() -> None:
    """Does the jobs, one after the other."""
    for line in sys.stdin:
        job = json.loads(line)
        LINES.say(uvloop.run(JOBS[job.pop("job")](job)))


if __name__ == "__main__":
    main()
