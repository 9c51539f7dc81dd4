"""The pool of connections that queries use.

The log kernel writes over a connection of its own (`meshkit.log.store`), because it needs pipeline mode and session
settings that no other statement should have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_SECONDS_MAX = 2
LIVENESS: Mapping[str, Any] = {
    "connect_timeout": CONNECT_SECONDS_MAX,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # ms
}
"""How libpq notices a server that is gone without a word: some ten seconds of silence. Unix sockets ignore it."""
KEY_LOOKUPS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""Every statement of ours is one of a few look-ups by key, over and over. Planning one anew each time takes six times
as long as running it, and a plan made while a table was young and small would read all of it once it has grown."""


def make_engine(url: str, *, connections_max: int = 5, wait_seconds_max: float = 2.0) -> AsyncEngine:
    """An engine on psycopg 3 for a `postgresql://` URL.

    A statement waits at most `wait_seconds_max` for one of `connections_max` connections, and each statement may run
    for 10 s. Connections are not tested when they are taken: a statement that fails on a dead one is done again.
    """
    return create_async_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=connections_max,
        max_overflow=0,
        pool_timeout=wait_seconds_max,
        hide_parameters=True,  # an error must not carry the values of a statement into the log
        isolation_level="AUTOCOMMIT",  # a query is one statement; `transact` asks for a transaction explicitly
        connect_args={
            **LIVENESS,
            "options": with_options(url, KEY_LOOKUPS | {"statement_timeout": "10s", "TimeZone": "UTC"}),
        },
    )


def with_options(url: str, session: Mapping[str, str]) -> str:
    """The `options` of a connection: those of its URL (a `search_path`, say), then session settings of ours."""
    of_url = conninfo_to_dict(url).get("options") or ""
    return " ".join([str(of_url), *(f"-c {name}={value}" for name, value in session.items())]).strip()
