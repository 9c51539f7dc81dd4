"""A service that does nothing: `ReserveStock`'s messages, options and interceptors, and a constant answer.

What the inventory service reaches of this one's rate is what remains for stock after gRPC, auth and validation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from beautymesh.inventory.v1 import inventory_pb2, reservation_pb2
from beautymesh.options.v1 import options_pb2
from meshkit.core.ids import new_id
from meshkit.core.settings import ServiceSettings
from meshkit.rpc.call import Call
from meshkit.service import Runtime, ServiceParts, run

METHOD: Final = "/bench.echo.v1.EchoService/ReserveStock"


class EchoSettings(ServiceSettings):
    """The settings of the echo process."""

    service: ClassVar[str] = "echo"


class EchoServicer:
    """Answers every reservation with the same bytes, as long as a real answer."""

    def __init__(self) -> None:
        expire_time = Timestamp()
        expire_time.GetCurrentTime()
        self._reply = reservation_pb2.ReserveStockResponse(
            reservation_id=new_id(), expire_time=expire_time, revision=1_000_000
        ).SerializeToString()

    async def ReserveStock(self, request: reservation_pb2.ReserveStockRequest, call: Call) -> bytes:  # noqa: N802  # the RPC's name
        """The constant answer."""
        del request, call
        return self._reply


@asynccontextmanager
async def build(runtime: Runtime[EchoSettings]) -> AsyncGenerator[ServiceParts]:
    """The parts of the process."""
    del runtime
    yield ServiceParts(servicers=[(_service(), EchoServicer())])


def _service() -> ServiceDescriptor:
    """The contract: the real RPC's messages and options under another name."""
    real = inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"].methods_by_name["ReserveStock"]
    file = descriptor_pb2.FileDescriptorProto(name="bench/echo.proto", package="bench.echo.v1", syntax="proto3")
    file.dependency.extend([real.input_type.file.name, options_pb2.DESCRIPTOR.name])
    method = file.service.add(name="EchoService").method.add(
        name=real.name, input_type=f".{real.input_type.full_name}", output_type=f".{real.output_type.full_name}"
    )
    method.options.Extensions[options_pb2.rpc].CopyFrom(real.GetOptions().Extensions[options_pb2.rpc])
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName("bench.echo.v1.EchoService")


if __name__ == "__main__":
    run(EchoSettings.load(), build)
