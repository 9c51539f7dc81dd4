"""Which database errors pass by themselves."""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

_PASSING_SQLSTATES = frozenset({
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available (lock_timeout)
    "25P03",  # idle_in_transaction_session_timeout: we were paused and lost our turn
    "25P04",  # transaction_timeout
    "57014",  # query_canceled (statement_timeout)
    "53300",  # too_many_connections
})  # fmt: skip
_PASSING_CLASSES = ("08", "57P")  # connection exceptions; the server shuts down, crashed or is starting


def is_passing(fault: BaseException) -> bool:
    """Whether the same work may succeed if it is simply done again: a lost connection, a lock, a restart."""
    if isinstance(fault, DBAPIError):
        return fault.connection_invalidated or (fault.orig is not None and is_passing(fault.orig))
    if isinstance(fault, psycopg.Error) and fault.sqlstate is not None:
        return fault.sqlstate in _PASSING_SQLSTATES or fault.sqlstate.startswith(_PASSING_CLASSES)
    # Without an SQLSTATE the server never answered: the connection broke or could not be made.
    return isinstance(fault, psycopg.OperationalError | ConnectionError | TimeoutError | PoolTimeout)


def took_too_long(fault: BaseException) -> bool:
    """Whether the server ended the work because of its duration: less of it at once may pass."""
    return isinstance(fault, psycopg.errors.TransactionTimeout | psycopg.errors.QueryCanceled)
