from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.embedded import Embedded


def test_a_service_owns_its_schema_and_nothing_else(make_database: Callable[..., str]) -> None:
    with psycopg.connect(make_database("inventory"), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (a integer)")
        found = connection.execute("SELECT schemaname FROM pg_tables WHERE tablename = 't'").fetchall()
        assert found == [("inventory",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE public.t (a integer)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE ROLE intruder")


def test_a_database_is_copied_from_a_template(make_database: Callable[..., str]) -> None:
    template = make_database("inventory")
    with psycopg.connect(template) as connection:
        connection.execute("CREATE TABLE t AS SELECT 7 AS a")
    with psycopg.connect(make_database("inventory", template_url=template)) as connection:
        assert connection.execute("SELECT a FROM t").fetchall() == [(7,)]


def test_the_cache_wants_its_password(embedded: Embedded) -> None:
    with redis.Redis.from_url(embedded.redis_url) as client:
        client.set("a", "1")
        assert client.get("a") == b"1"
    url = urlsplit(embedded.redis_url)
    stranger = redis.Redis(unix_socket_path=url.path, retry=Retry(NoBackoff(), 0))
    with stranger, pytest.raises(redis.exceptions.AuthenticationError):
        stranger.get("a")


def test_a_role_without_its_password_is_refused(make_database: Callable[..., str]) -> None:
    url = make_database("inventory").replace("postgresql://inventory:", "postgresql://inventory:x")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)


def test_postgres_listens_on_no_port(embedded: Embedded) -> None:
    with psycopg.connect(embedded.admin_url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
