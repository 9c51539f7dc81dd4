"""A client that calls an ASGI application without a network, as a server would."""
# ruff: noqa: ANN401 — JSON is anything

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edge_gateway.rest.app import RestApp
from meshkit.rpc.tokens import TokenIssuer, TokenVerifier, ensure_keys
from meshkit.telemetry.metrics import Metrics
from meshkit.telemetry.tracing import Tracing
from tests.edge.rest.kitchen import KITCHEN, handlers

ISSUER: Final = "beautymesh-test"
SCOPES: Final = frozenset({"kitchen.read", "kitchen.write"})


@dataclass
class Response:
    """What the application sent so far."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_complete: bool = False

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        return str(self.json()["reason"])

    @property
    def fields(self) -> list[str]:
        """The fields that a problem names."""
        return [each["field"] for each in self.json()["violations"]]

    @property
    def events(self) -> list[dict[str, str]]:
        """The complete events of a stream; comments stand under the empty name."""
        blocks = self.body.decode().split("\n\n")[:-1]
        return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


class Open:
    """One request that is being answered."""

    def __init__(self, app: RestApp, scope: dict[str, Any], chunks: Sequence[bytes]) -> None:
        self.response = Response()
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for index, chunk in enumerate(chunks):
            self.arrive(chunk, more=index < len(chunks) - 1)
        self._changed = asyncio.Condition()
        self.task = asyncio.create_task(app(scope, self._events.get, self._send))

    def arrive(self, chunk: bytes, *, more: bool = False) -> None:
        """Sends a part of the body."""
        self._events.put_nowait({"type": "http.request", "body": chunk, "more_body": more})

    @property
    def unread(self) -> int:
        """How many parts the application has not read yet."""
        return self._events.qsize()

    def disconnect(self) -> None:
        """Goes away."""
        self._events.put_nowait({"type": "http.disconnect"})

    async def until(self, condition: Callable[[Response], bool]) -> Response:
        """Waits until the answer is so; the test's own limit ends a wait in vain."""
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self.response) or self.task.done())
        assert condition(self.response), self.response
        return self.response

    async def finish(self) -> Response:
        """The whole answer."""
        await self.task
        return self.response

    async def _send(self, event: MutableMapping[str, Any]) -> None:
        async with self._changed:
            response = self.response
            assert not response.is_complete, "something was sent after the end"
            if event["type"] == "http.response.start":
                assert response.status == 0, "the answer began twice"
                response.status = event["status"]
                response.headers = {name.decode(): value.decode() for name, value in event["headers"]}
                assert all(name == name.lower() for name in response.headers), response.headers
            else:
                assert response.status, "a body came before the start"
                response.body += event["body"]
                response.is_complete = not event.get("more_body", False)
            self._changed.notify_all()


@dataclass
class Client:
    """Calls one application."""

    app: RestApp
    token: str = ""
    metrics: Metrics = field(default_factory=Metrics)

    def open(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Sequence[bytes] = b"",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        raw_path: bytes | None = None,
    ) -> Open:
        """Begins a request; a body that is given is JSON unless the headers say otherwise."""
        raw, _, query = path.partition("?")
        chosen = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {name.lower() for name, _ in chosen}
        if body and "content-type" not in names:
            chosen.append(("content-type", "application/json"))
        if self.token and "authorization" not in names:
            chosen.append(("authorization", f"Bearer {self.token}"))
        scope = {
            "type": "http",
            "method": method,
            "raw_path": raw.encode() if raw_path is None else raw_path,
            "path": raw,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in chosen],
            "client": ("127.0.0.1", 4711),
        }
        return Open(self.app, scope, [body] if isinstance(body, bytes) else body)

    async def send(self, method: str, path: str, **named: Any) -> Response:
        """The whole answer of a request."""
        return await self.open(method, path, **named).finish()

    async def get(self, path: str, **named: Any) -> Response:
        return await self.send("GET", path, **named)

    async def post(self, path: str, value: Any = None, **named: Any) -> Response:
        """Posts a value as JSON."""
        body = b"" if value is None else json.dumps(value).encode()
        return await self.send("POST", path, body=body, **named)

    @asynccontextmanager
    async def streaming(self, path: str, **named: Any) -> AsyncIterator[Open]:
        """A stream that is left at the end."""
        stream = self.open("GET", path, **named)
        try:
            yield stream
        finally:
            stream.disconnect()
            with suppress(asyncio.CancelledError):
                await stream.task


def kitchen_client(
    folder: Path, *, scopes: frozenset[str] = SCOPES, tracing: Tracing | None = None, **more: Any
) -> Client:
    """A client of the kitchen; `more` are handlers by RPC name, or arguments of `RestApp` in lower case."""
    keys = ensure_keys(folder)
    metrics = Metrics()
    app = RestApp(
        [KITCHEN],
        handlers(**{name: each for name, each in more.items() if name[0].isupper()}),
        verifier=TokenVerifier(keys.jwks_file, issuer=ISSUER),
        metrics=metrics,
        tracing=tracing or Tracing(),
        **{name: each for name, each in more.items() if not name[0].isupper()},
    )
    issuer = TokenIssuer.from_key_file(keys.signing_key_file, issuer=ISSUER)
    token = issuer.issue(subject="user:ada", client_id="webshop", scopes=scopes)
    return Client(app, token, metrics)
