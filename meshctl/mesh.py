"""Which processes make up a mesh on one machine, and what each of them is told."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshctl.child import ChildSpec
from meshctl.ports import HOST, Ports
from meshctl.probe import http_is_ready

SERVICES: Mapping[str, str] = {
    "inventory": "inventory_svc",
    "promo": "promo_svc",
    "profile": "profile_svc",
    "edge": "edge_gateway",
}
"""The Python package behind each name. The edge comes last: it starts and stops on the outside of the others."""

CALLS: Mapping[str, tuple[str, ...]] = {"promo": ("profile",), "edge": ("inventory", "promo", "profile")}
"""Which services each of them calls: it is told where all their processes are."""

WORKERS_MAX = 64

EDGES_MAX = 8
"""Each may open 16 connections to the database, which takes 200."""

STOP: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 1.1), (signal.SIGTERM, 0.2))
"""The first signal starts a drain, the second ends one that takes too long. Edge, services, Valkey (0.4 s) and
PostgreSQL (1.5 s) stop one after the other, and all of it must fit into 5 s."""

DRAIN = {"BEAUTYMESH_DRAIN_WAIT_SECONDS": "0.1", "BEAUTYMESH_DRAIN_SECONDS": "0.6"}
"""On one machine no load balancer has to notice, and the drain has to fit into `STOP`."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One process of a service and the ports that stay its own; an edge has one for HTTP."""

    service: str
    index: int
    grpc_port: int
    admin_port: int
    http_port: int = 0

    @property
    def name(self) -> str:
        """Its name in logs and in the ready file."""
        return f"{self.service}-{self.index}"

    @property
    def address(self) -> str:
        """Where it answers RPCs."""
        return f"{HOST}:{self.grpc_port}"

    @property
    def url(self) -> str:
        """Where an edge answers HTTP."""
        return f"http://{HOST}:{self.http_port}"

    @property
    def admin(self) -> str:
        """Where operators ask it."""
        return f"http://{HOST}:{self.admin_port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all processes of a mesh share."""

    database_urls: Mapping[str, str]
    redis_url: str
    signing_key_file: Path
    jwks_file: Path

    def environment(self, service: str) -> dict[str, str]:
        """What a process of `service` finds in its environment, ports left out.

        A database of the service's own, named by the caller, goes before ours.
        """
        variable = database_variable(service)
        return {
            **{name: os.environ.get(name, value) for name, value in DRAIN.items()},
            variable: os.environ.get(variable) or self.database_urls[service],
            "BEAUTYMESH_REDIS_URL": self.redis_url,
            "BEAUTYMESH_SIGNING_KEY_FILE": str(self.signing_key_file),
            "BEAUTYMESH_JWKS_FILE": str(self.jwks_file),
        }


def database_variable(service: str) -> str:
    """The variable that names one service's database."""
    return f"BEAUTYMESH_{service.upper()}_DATABASE_URL"


def place_workers(ports: Ports, *, workers: int, edges: int, port: int) -> list[Worker]:
    """Finds ports for `workers` processes of each service and for the edges, the first of which answers HTTP on `port`.

    Raises:
        SetupRefused: that port is taken.
    """
    http_ports = [ports.reserve(port), *(ports.reserve() for _ in range(edges - 1))]
    placed = [
        Worker(service, index, ports.reserve(), ports.reserve())
        for service in SERVICES
        if service != "edge"
        for index in range(workers)
    ]
    return placed + [
        Worker("edge", index, ports.reserve(), ports.reserve(), http_port) for index, http_port in enumerate(http_ports)
    ]


def worker_child(worker: Worker, surroundings: Surroundings, mesh: Sequence[Worker] = ()) -> ChildSpec:
    """The worker as a supervised process. `mesh` are all workers, among them those that it calls."""
    prefix = f"BEAUTYMESH_{worker.service.upper()}"
    targets = {
        f"{prefix}_{called.upper()}_TARGETS": ",".join(each.address for each in mesh if each.service == called)
        for called in CALLS.get(worker.service, ())
    }
    http = {f"{prefix}_HTTP_LISTEN": f"{HOST}:{worker.http_port}"} if worker.http_port else {}
    return ChildSpec(
        name=worker.name,
        command=service_command(worker.service, "serve"),
        environment={
            **surroundings.environment(worker.service),
            f"{prefix}_GRPC_LISTEN": worker.address,
            f"{prefix}_ADMIN_LISTEN": f"{HOST}:{worker.admin_port}",
            f"{prefix}_WORKER": str(worker.index),
            **targets,
            **http,
        },
        is_ready=functools.partial(http_is_ready, HOST, worker.admin_port),
        stop=STOP,
    )


def service_command(service: str, action: str) -> list[str]:
    """How a service's own command line is called."""
    return [sys.executable, "-m", SERVICES[service], action]
