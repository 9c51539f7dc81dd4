"""How `protos/` becomes `generated/`: offline, from installed packages alone, with the same bytes every time.

`python -m meshctl.dev.protogen` regenerates the stubs; `--check` proves that regenerating changes nothing, lints the
contract and compares it with the last released one; `--release` makes today's contract the released one.

Imports come from packages: `google/api` and `google/rpc` from googleapis-common-protos, `google/protobuf` from
grpcio-tools, and `buf/validate` from the descriptor inside protovalidate, which ships no `.proto` file.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
GENERATED = ROOT / "generated"
RELEASED_IMAGE = PROTOS / "released.binpb"
"""The contract as last released, imports included; what `buf breaking` compares with."""

OURS = "beautymesh"
VALIDATE = "buf/validate/validate.proto"


class ProtogenError(Exception):
    """The contract does not compile, is not clean, or `generated/` is stale; the message is for the terminal."""


def main() -> int:
    """Runs one of the three actions; returns the exit code."""
    parser = argparse.ArgumentParser(prog="protogen", description=__doc__.splitlines()[0])
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="prove that generated/ is fresh and the contract clean")
    action.add_argument("--release", action="store_true", help="make today's contract the released one")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            check()
        elif arguments.release:
            build_image(RELEASED_IMAGE, with_comments=False)
        else:
            generate(GENERATED)
    except ProtogenError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def generate(target: Path) -> None:
    """Writes all stubs below `target` and removes what no `.proto` file asks for any more.

    Raises:
        ProtogenError: with protoc's message.
    """
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        _write_stubs(fresh)
        wanted = _files(fresh)
        for stale in _files(target) - wanted:
            (target / stale).unlink()
        for name in sorted(wanted):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((fresh / name).read_bytes())


def check() -> None:
    """Proves that `generated/` is what `protos/` says, that the contract is clean and breaks no released one.

    Raises:
        ProtogenError: with everything that is wrong.
    """
    with tempfile.TemporaryDirectory() as folder:
        fresh, image = Path(folder, "fresh"), Path(folder, "image.binpb")
        generate(fresh)
        names = _files(fresh) | _files(GENERATED)
        _, differing, missing = filecmp.cmpfiles(fresh, GENERATED, sorted(names), shallow=False)
        faults = [f"generated/{name} is stale: run make proto" for name in sorted(differing + missing)]
        build_image(image, with_comments=True)
        # The image holds its imports too; other people's style is not ours to judge.
        for buf in (["lint", str(image), "--path", OURS], ["breaking", str(image), "--against", str(RELEASED_IMAGE)]):
            result = _run([_tool("buf"), *buf])
            faults += result.stdout.splitlines()
            if result.returncode and not result.stdout:
                faults.append(result.stderr)
    if faults:
        raise ProtogenError("\n".join(faults))


def build_image(target: Path, *, with_comments: bool) -> None:
    """Writes the contract with its imports as one `FileDescriptorSet`.

    Raises:
        ProtogenError: with protoc's message.
    """
    comments = ["--include_source_info"] if with_comments else []
    _protoc(["--include_imports", *comments, f"--descriptor_set_out={target}"], _sources())


def _write_stubs(target: Path) -> None:
    _protoc(_outputs(target, "python", "mypy"), [*_sources(), VALIDATE])
    services = [name for name in _sources() if "\nservice " in (PROTOS / name).read_text(encoding="utf-8")]
    _protoc(_outputs(target, "grpc_python", "mypy_grpc"), services)
    # `buf` stays a namespace package, because other distributions have modules in it; `beautymesh` is ours alone.
    for folder in {stub.parent for stub in target.rglob("*_pb2.py")}:
        for package in (folder, *folder.parents):
            if package in (target, target / "buf"):
                break
            (package / "__init__.py").touch()
    for package in (target / OURS, target / "buf" / "validate"):
        (package / "py.typed").touch()
    _write_descriptions(target / OURS / "descriptions.json")


def _write_descriptions(target: Path) -> None:
    """Every comment of the contract by its element's full name: stubs carry none, and a wheel has no `protos/`."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.binpb")
        build_image(image, with_comments=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file
    found = {name: text for file in files if file.package.startswith(OURS) for name, text in _comments(file)}
    target.write_text(json.dumps(found, ensure_ascii=False, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def _comments(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        text = "\n".join(line.strip() for line in location.leading_comments.strip().splitlines())
        # Pairs of field and index lead to an element; an odd path is an option or a name of it.
        if text and location.path and len(location.path) % 2 == 0:
            names: list[str] = [file.package]
            message: Any = file
            for field_number, index in zip(location.path[::2], location.path[1::2], strict=True):
                field = message.DESCRIPTOR.fields_by_number[field_number]
                message = getattr(message, field.name)[index]
                names.append(message.name)
            yield ".".join(names), text


def _outputs(target: Path, *plugins: str) -> list[str]:
    """The flags that make each plugin write below `target`; of ours, protoc knows only `python` and `grpc_python`."""
    flags = [f"--{plugin}_out={target}" for plugin in plugins]
    return flags + [
        f"--plugin=protoc-gen-{name}={_tool(f'protoc-gen-{name}')}" for name in plugins if name.startswith("mypy")
    ]


def _protoc(flags: list[str], files: list[str]) -> None:
    includes = [f"-I{PROTOS}", f"-I{Path(annotations_pb2.__file__).parents[2]}"]
    with tempfile.TemporaryDirectory() as folder:
        validate_set = Path(folder, "validate.binpb")
        validate_set.write_bytes(_validate_set())
        descriptors = f"--descriptor_set_in={validate_set}"
        result = _run([sys.executable, "-m", "grpc_tools.protoc", *includes, descriptors, *flags, *files])
    if result.returncode:
        raise ProtogenError(result.stderr)


def _validate_set() -> bytes:
    """`buf/validate/validate.proto` and its imports, as protovalidate carries them."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.add().ParseFromString(validate_pb._DESC.proto.to_binary())  # noqa: SLF001  # it has no public name
    return files.SerializeToString(deterministic=True)


def _sources() -> list[str]:
    return sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto"))


def _files(folder: Path) -> set[str]:
    """The generated files below a folder; `generated/pyproject.toml` and its like are written by hand."""
    packages = (folder / OURS, folder / "buf")
    paths = (path for package in packages for path in package.rglob("*") if "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in paths if path.is_file()}


def _tool(name: str) -> str:
    """A program that is installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
