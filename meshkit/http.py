"""Serves an ASGI application on the process's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

AsgiApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

CONNECTIONS_MAX: Final = 10_000
"""Open connections of one server; one more waits until another closes. Granian's own bound, 128, is what a few clients
with connections kept alive take, and then it answers nobody else."""

_BACKLOG: Final = 1024

STOP_SECONDS_MAX: Final = 0.5
"""How long open connections may hold up the end of the process. Streams are told to end before."""

_POLL_SECONDS: Final = 0.005


class HttpServer:
    """An HTTP/1.1 server whose answers tell whether the loop turns, because they come from it."""

    def __init__(self, app: AsgiApp, *, listen: str, name: str) -> None:
        """`listen` is `host:port`; port 0 takes a free one. `name` is the task's, for logs."""
        host, _, port = listen.rpartition(":")
        self._app = app
        self._host = host.strip("[]")
        self._name = name
        self.port = int(port)
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens, once started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listens.

        Raises:
            OSError: if the address is taken or not of this machine.
        """
        # Granian shares addresses (SO_REUSEPORT) and does not tell which port it took, so ask the system first.
        self.port = _free_port(self._host, self.port)
        self._server = Server(
            self._app,
            address=self._host,
            port=self.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            backlog=_BACKLOG,
            backpressure=CONNECTIONS_MAX,
            log_enabled=False,
        )
        self._serving = asyncio.create_task(self._server.serve(), name=self._name)
        while not await self._answers():
            if self._serving.done():
                self._serving.result()
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """Stops listening; a connection that is still open is dropped after half a second."""
        if self._server is None or self._serving is None:
            return
        self._server.stop()  # type: ignore[no-untyped-call]  # granian leaves it untyped
        _, unfinished = await asyncio.wait({self._serving}, timeout=STOP_SECONDS_MAX)
        if unfinished:
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self._host, self.port)
        except OSError:
            return False
        writer.close()
        return True


def _free_port(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])
