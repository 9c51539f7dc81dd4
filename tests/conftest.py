"""What every test may ask for: real servers, fresh databases; and no way out to the network."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Callable, Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.embedded import Embedded, embedded_servers
from tests.logs import tails
from tests.standstill import pytest_runtest_protocol, pytest_terminal_summary  # noqa: F401 — hooks of pytest's

# gRPC's handlers would run in every child that is forked, as for a program that runs as another user, and crash some
# that meet its threads. Nothing here forks to go on in Python.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

for name in [name for name in os.environ if name.startswith("BEAUTYMESH_")]:
    del os.environ[name]


# A machine that stands still for a moment is no fault of what is tested.
settings.register_profile("mesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mesh")


def _refuse_foreign_sockets(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: sees every connect of every Python library, and cannot be patched away."""
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return
    host = str(arguments[1][0])
    if host != "localhost" and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        raise RuntimeError(f"a test tried to connect to {host}: only loopback and Unix sockets are allowed")


sys.addaudithook(_refuse_foreign_sockets)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows what the processes have logged beside a test that fails."""
    report = yield
    if report.failed:
        report.sections.extend(tails())
    return report


@pytest.fixture(scope="session")
def embedded() -> Iterator[Embedded]:
    """PostgreSQL and Valkey, one pair per test process."""
    with embedded_servers(fsync=False) as servers:
        yield servers


@pytest.fixture
def make_database(embedded: Embedded) -> Iterator[Callable[..., str]]:
    """Makes databases as `Embedded.make_database` does and drops them after the test."""
    made: list[str] = []

    def make(service: str, *, template_url: str = "") -> str:
        made.append(embedded.make_database(service, template_url=template_url))
        return made[-1]

    yield make
    for url in made:
        embedded.drop_database(url)
