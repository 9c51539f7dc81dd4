"""The pool of connections that queries use.

The log kernel writes over a connection of its own (`meshkit.log.store`), because it needs pipeline mode and session
settings that no other statement should have.
"""

from __future__ import annotations

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_SECONDS_MAX = 2


def make_engine(url: str, *, connections_max: int = 5, wait_seconds_max: float = 2.0) -> AsyncEngine:
    """An engine on psycopg 3 for a `postgresql://` URL.

    A statement waits at most `wait_seconds_max` for one of `connections_max` connections, and each statement may run
    for 10 s. Connections are tested when they are taken, so that a restart of the server costs nobody an error.
    """
    return create_async_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=connections_max,
        max_overflow=0,
        pool_timeout=wait_seconds_max,
        pool_pre_ping=True,
        hide_parameters=True,  # an error must not carry the values of a statement into the log
        isolation_level="AUTOCOMMIT",  # a query is one statement; `transact` asks for a transaction explicitly
        connect_args={"connect_timeout": CONNECT_SECONDS_MAX, "options": "-c statement_timeout=10s -c TimeZone=UTC"},
    )
