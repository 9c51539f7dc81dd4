"""The least that the edge's HTTP server can do: `python -m bench.hello PORT` says one thing, as long as a cached read.

What the edge reaches of this one's rate is what remains after routing, authentication and the look-up.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

import uvloop

from bench.calls import UNITS, sku
from meshkit.http import HttpServer

BODY: Final = (
    b'{"availability":{"sku":"%s","channel":"default","sellable":"%d","revision":"3","levels":[]},"revision":"3"}'
) % (sku(0).encode(), UNITS)
"""The edge's answer about one of the bench's SKUs, before anything was sold."""

_START: Final = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}
_ANSWER: Final = {"type": "http.response.body", "body": BODY}


async def hello(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401  # as ASGI leaves them
    """The same answer to everything."""
    await send(_START)
    await send(_ANSWER)


async def main(port: str) -> None:
    """Serves until it is ended."""
    await HttpServer(hello, listen=f"127.0.0.1:{port}", name="hello").start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
