"""How a command of ours finds the services of a mesh that is up: by its ready file, or by address and token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from google.protobuf.descriptor import ServiceDescriptor

from beautymesh.inventory.v1 import inventory_pb2
from beautymesh.profile.v1 import service_pb2 as profile_pb2
from beautymesh.promo.v1 import promo_pb2
from meshctl.refusal import SetupRefused
from meshctl.state import default_folder
from meshkit.core.errors import MeshError
from meshkit.rpc.channel import MeshChannel, grpc_channel

READY_FILE = "ready.json"
"""In the state folder; `up` writes it once the mesh answers."""

CONTRACTS: dict[str, ServiceDescriptor] = {
    "inventory": inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"],
    "promo": promo_pb2.DESCRIPTOR.services_by_name["PromoService"],
    "profile": profile_pb2.DESCRIPTOR.services_by_name["ProfileService"],
}
"""What our commands can call, by the service's name."""

ResultT = TypeVar("ResultT")

ReadyFileOption = Annotated[
    Path | None, typer.Option("--ready-file", help="Ready file of `up`; else the one in the default state folder.")
]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="host:port of an inventory process, instead of a ready file.")
]
TokenOption = Annotated[
    str | None, typer.Option("--token", envvar="BEAUTYMESH_TOKEN", help="Token to show, instead of the ready file's.")
]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The processes of a service (`host:port`) and the token to show them."""

    addresses: tuple[str, ...]
    token: str
    service: str = "inventory"

    def open_channel(self) -> MeshChannel:
        """A channel over all of them that shows the token. Must be opened and closed on one running loop."""
        return grpc_channel(self.addresses, services=[CONTRACTS[self.service]], token=lambda: self.token)


def find_inventory(*, ready_file: Path | None, address: str | None, token: str | None) -> Endpoint:
    """Where inventory is, as the options of a command say it.

    Raises:
        SetupRefused: nothing is up, or the ready file is none.
    """
    return find("inventory", ready_file=ready_file, address=address, token=token)


def find(service: str, *, ready_file: Path | None, address: str | None, token: str | None) -> Endpoint:
    """Where a service is: at the address, or where the ready file says.

    Raises:
        SetupRefused: nothing is up, or the ready file is none.
    """
    if address is not None and token is not None:
        return Endpoint((address,), token, service)
    file = ready_file or default_folder() / READY_FILE
    try:
        ready = json.loads(file.read_text(encoding="utf-8"))
        found = endpoint_of(ready, service)
    except FileNotFoundError:
        raise SetupRefused(
            f"nothing is up: there is no {file}",
            "start a mesh: make up, or beautymesh up",
            "name the ready file of the one you mean: --ready-file",
            "name a service and show a token: --address host:port --token …",
        ) from None
    except OSError as fault:
        raise SetupRefused(f"{file} cannot be read: {fault.strerror}", "name another one with --ready-file") from None
    except (ValueError, KeyError, TypeError):
        raise SetupRefused(f"{file} is not a ready file", "name another one with --ready-file") from None
    return Endpoint((address,) if address else found.addresses, token or found.token, service)


def endpoint_of(ready: dict[str, Any], service: str = "inventory") -> Endpoint:
    """Where a service is, according to the content of a ready file."""
    return Endpoint(tuple(ready["services"][service]), str(ready["token"]), service)


def run(command: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Runs a command to its end; what the mesh refuses is said in one line.

    Raises:
        SetupRefused: with the service's message.
    """
    try:
        return asyncio.run(command)
    except MeshError as refusal:
        raise SetupRefused(f"the mesh refused ({refusal.reason}): {refusal.message}") from refusal
