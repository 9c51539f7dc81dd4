"""A service that exists only in tests and has everything that a contract can hold; compiled from `kitchen.proto`."""
# ruff: noqa: ANN401 — messages of a service that is compiled at run time have no type

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Final

import grpc_tools
from google.api import annotations_pb2
from google.protobuf import (  # the file imports most of these
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    field_mask_pb2,
    struct_pb2,  # noqa: F401
    timestamp_pb2,
    wrappers_pb2,  # noqa: F401
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

from beautymesh.common.v1 import watch_pb2  # noqa: F401 — likewise
from beautymesh.options.v1 import options_pb2  # noqa: F401 — likewise
from buf.validate import validate_pb2
from edge_gateway.rest.exchange import Exchange, Handler

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
PACKAGE: Final = "meshtest.rest.v1"


def compile_proto(text: str, name: str) -> FileDescriptorProto:
    """The descriptor of a proto file that imports what is installed and what `protos/` holds."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_text(text, encoding="utf-8")
        out = Path(folder, "out.binpb")
        includes = [folder, ROOT / "protos", Path(annotations_pb2.__file__).parents[2], _builtin()]
        validate = Path(folder, "validate.binpb")
        validate.write_bytes(_validate_set())
        flags = [f"--descriptor_set_in={validate}", f"--descriptor_set_out={out}"]
        code = protoc.main(["protoc", *(f"-I{each}" for each in includes), *flags, name])
        assert code == 0, name
        return FileDescriptorSet.FromString(out.read_bytes()).file[0]


def _validate_set() -> bytes:
    """`buf/validate/validate.proto` and its imports, which are installed as Python only."""
    files = FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2, validate_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    return files.SerializeToString()


def _builtin() -> Path:
    return Path(grpc_tools.__file__).parent / "_proto"


def add_to_pool(file: FileDescriptorProto) -> descriptor_pool.DescriptorPool:
    """Makes the file's types known to this process."""
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL: Final = add_to_pool(compile_proto((HERE / "kitchen.proto").read_text(encoding="utf-8"), "kitchen.proto"))
KITCHEN: Final = _POOL.FindServiceByName(f"{PACKAGE}.KitchenService")


def message_class(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


All: Final = message_class("All")
Few: Final = message_class("Few")
Inner: Final = message_class("Inner")
Filter: Final = message_class("Filter")
FindRequest: Final = message_class("FindRequest")
FindResponse: Final = message_class("FindResponse")
DoRequest: Final = message_class("DoRequest")
DoResponse: Final = message_class("DoResponse")
WatchResponse: Final = message_class("WatchResponse")
StepResponse: Final = message_class("StepResponse")


async def find(request: Any, _exchange: Exchange) -> Any:
    return FindResponse(found=request)


async def do(request: Any, _exchange: Exchange) -> Any:
    return DoResponse(done=request)


async def watch(_request: Any, _exchange: Exchange) -> AsyncGenerator[Any, None]:
    yield WatchResponse(position={"covers_to": 1, "resume_token": "t1"}, snapshot={"sku_code": "A"})


async def verify(_request: Any, _exchange: Exchange) -> AsyncGenerator[Any, None]:
    yield StepResponse(step=1)


def handlers(**replaced: Handler) -> Mapping[str, Handler]:
    """A handler for each RPC; `replaced` by RPC name."""
    made: dict[str, Handler] = {
        "Find": find,
        "Look": find,
        "Do": do,
        "Refine": do,
        "Watch": watch,
        "Verify": verify,
        "Touch": find,
        **replaced,
    }
    return {f"/{KITCHEN.full_name}/{name}": handler for name, handler in made.items()}
