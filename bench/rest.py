"""Requests over HTTP/1.1 from ready-made bytes, so that the client costs as little as it can; and loads of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import count, cycle, repeat
from time import monotonic
from typing import Any, Final, cast
from urllib.parse import urlsplit

from bench.calls import LOCATION, Job, percentiles_ms, sku
from meshkit.core.ids import new_id

ANSWER_SECONDS_MAX: Final = 30.0

_NO_CONTENT: Final = frozenset({204, 304})


def address_of(url: str) -> tuple[str, int]:
    """Host and port, which all URLs here have."""
    parts = urlsplit(url)
    assert parts.hostname is not None, f"{url} has no host"
    assert parts.port is not None, f"{url} has no port"
    return parts.hostname, parts.port


def request(
    method: str, url: str, path: str, *, token: str, body: object = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of one request; `body` is sent as JSON."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {urlsplit(url).netloc}", f"authorization: Bearer {token}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    payload = b""
    if body is not None:
        payload = json.dumps(body, separators=(",", ":")).encode()
        lines += ["content-type: application/json", f"content-length: {len(payload)}"]
    return "\r\n".join([*lines, "", ""]).encode() + payload


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        """Use `connect`."""
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._head = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def connect(cls, url: str) -> Connection:
        """Connects to the host of a URL."""
        host, port = address_of(url)
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    async def ask(self, sent: bytes) -> tuple[int, bytes]:
        """Status and body.

        Raises:
            ConnectionError, TimeoutError
        """
        assert self._transport is not None, "not connected"
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._transport.write(sent)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await answer

    def header(self, name: str) -> str:
        """A header of the last answer; empty where there was none."""
        return _header(self._head, name)

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio wants it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """As asyncio wants it."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        status = int(head[9:12])
        size_bytes = 0 if status in _NO_CONTENT else int(_header(head, "content-length"))
        if len(rest) >= size_bytes and self._answer is not None:
            self._head, self._buffer = head, rest[size_bytes:]
            self._answer.set_result((status, rest[:size_bytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio wants it."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the edge hung up"))


async def answer_of(url: str, sent: bytes) -> Any:  # noqa: ANN401  # JSON
    """The JSON of one good answer, over a connection of its own."""
    connection = await Connection.connect(url)
    status, body = await connection.ask(sent)
    connection.close()
    assert status == 200, f"{sent.partition(b' HTTP')[0].decode()} was answered {status}: {body.decode()}"
    return json.loads(body)


def availability_path(number: int) -> str:
    """The path of the read that the edge answers from memory."""
    return f"/v1/skus/{sku(number)}/availability"


def read_requests(job: Job) -> Iterator[bytes]:
    """Reads of availability in turn over the SKUs; `etags` by SKU, where the answer is to be 304."""
    etags = job.get("etags") or [""] * job["skus"]
    return cycle([
        request(
            "GET",
            job["url"],
            availability_path(number),
            token=job["token"],
            headers={"if-none-match": etag} if etag else None,
        )
        for number, etag in enumerate(etags)
    ])  # fmt: skip


def reserve_requests(job: Job) -> Iterator[bytes]:
    """Reservations of one unit, each under an id of its own, in turn over the SKUs."""
    run = new_id()
    for number in count():
        body = {
            "requestId": f"{run}-{number}",
            "lines": [{"sku": sku(number % job["skus"]), "location": LOCATION, "quantity": "1"}],
        }
        yield request("POST", job["url"], "/v1/reservations", token=job["token"], body=body)


def get_requests(job: Job) -> Iterator[bytes]:
    """Reads of one reservation, which the edge asks inventory for."""
    return repeat(request("GET", job["url"], f"/v1/reservations/{job['reservation_id']}", token=job["token"]))


LOADS: Final[dict[str, Callable[[Job], Iterator[bytes]]]] = {
    "read": read_requests,
    "reserve": reserve_requests,
    "get": get_requests,
}


async def rate(job: Job) -> Job:
    """Asks as fast as `clients` callers can, each waiting for its answer; the first moments do not count."""
    each_request = LOADS[job["what"]](job)
    wanted = job.get("status", 200)
    begin = monotonic() + job["warm_seconds"]
    end = begin + job["seconds"]
    latencies: list[float] = []

    async def caller() -> None:
        connection = await Connection.connect(job["url"])
        while (sent := monotonic()) < end:
            status, body = await connection.ask(next(each_request))
            assert status == wanted, f"answered {status}, not {wanted}: {body.decode()}"
            answered = monotonic()
            if begin <= answered <= end:
                latencies.append(answered - sent)
        connection.close()

    await asyncio.gather(*(caller() for _ in range(job["clients"])))
    return {"per_second": len(latencies) / job["seconds"], **percentiles_ms(latencies)}


def _header(head: bytes, name: str) -> str:
    _, _, rest = head.decode("latin-1").lower().partition(f"\r\n{name}: ")
    return rest.partition("\r\n")[0]
