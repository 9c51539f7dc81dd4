"""What is the same in code and documents: writes `docs/reference/` from the code, so that it cannot be wrong for long.

`python docs/build.py` writes the pages; `--check` proves that they are fresh. Settings, metrics and errors are found by
importing every module of what services are made of, so none has to be named here; RPCs come from the descriptors that
`protos/` compiles to.

It stands here, not in `meshctl`, because it imports the services, which the command line must not.
"""
# ruff: noqa: INP001 — a script beside what it writes, not a package

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, TypeVar

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto

from beautymesh.options.v1 import options_pb2
from edge_gateway.rest.problems import TRANSPORT
from meshctl.dev.protogen import build_image
from meshctl.mesh import SERVICES
from meshkit.core.errors import TABLE, Kind, MeshError
from meshkit.core.settings import ServiceSettings, SettingDescription, describe
from meshkit.rpc.options import MESSAGE_BYTES_MAX
from meshkit.telemetry.metrics import CounterSpec, GaugeSpec, HistogramSpec

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parents[1]
REFERENCE: Final = ROOT / "docs" / "reference"
PACKAGES: Final = ("meshkit", *SERVICES.values())

_CONFIGURATION: Final = """\
# Configuration

<!-- Written by docs/build.py; change the code and run it again. -->

Settings are environment variables; all have a default. A service looks for `BEAUTYMESH_<SERVICE>_<NAME>` first
(`BEAUTYMESH_INVENTORY_DRAIN_SECONDS`), then for `BEAUTYMESH_<NAME>`, which is what the tables show. An empty variable
counts as not set. A process with wrong values does not start and names all of them at once.

`beautymesh up` sets addresses, database, Valkey and key files for the processes that it starts."""

_METRICS: Final = """\
# Metrics

<!-- Written by docs/build.py; change the code and run it again. -->

Every process shows them at `/metrics` of its admin port, in the Prometheus text format; the edge at its REST port too.
Names and labels are an interface. The collectors of prometheus-client for process, platform and garbage collector are
there as well."""

_ERRORS: Final = """\
# Errors

<!-- Written by docs/build.py; change the code and run it again. -->

A refusal is a `google.rpc.Status` with an `ErrorInfo`: `reason` is stable and for programs, the message is for people,
the metadata holds names and numbers of the case. `BadRequest` names wrong fields. `RetryInfo` says after how long the
same request may be sent again, under the same `request_id`; "no" means that an unchanged repeat is of no use. An
internal error says nothing but that it is one; its detail is in the log of the process. The edge answers the same as a
[problem document](../edge.md#errors) with the HTTP status, and with `Retry-After` in whole seconds. Where several
services have a reason, its meaning is said for each. Which RPC fails with what: [RPCs](rpcs.md)."""

_TRANSPORT_ERRORS: Final = """\
## What only HTTP knows

The edge refuses these before they are a request to any service."""

_RPCS: Final = f"""\
# RPCs

<!-- Written by docs/build.py; change the code and run it again. -->

What the platform enforces for each RPC, as declared beside it in `protos/`. A repeat of a "by `request_id`" RPC with
the same id and body has the first answer and no second effect. Without a limit of its own a request may have
{MESSAGE_BYTES_MAX // 2**20} MiB. The objective is for 99 % of the calls. The [edge](../edge.md) serves the REST route;
an RPC without one is for services. "Cache" is who may keep the answer that the edge gives. What the reasons mean:
[errors](errors.md)."""

_SERVICE_FIELD: Final = 6  # FileDescriptorProto.service
_METHOD_FIELD: Final = 2  # ServiceDescriptorProto.method


def main() -> int:
    """Writes the pages or compares them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="docs/build.py", description="Writes docs/reference/ from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not what it would be")
    if parser.parse_args().check:
        stale = stale_pages(REFERENCE)
        for name in stale:
            sys.stderr.write(f"docs/reference/{name} is stale: run python docs/build.py\n")
        return 1 if stale else 0
    REFERENCE.mkdir(exist_ok=True)
    for name, page in pages().items():
        (REFERENCE / name).write_text(page, encoding="utf-8")
    return 0


def stale_pages(folder: Path) -> list[str]:
    """The names of the pages in `folder` that are missing, differ from the code, or belong to nothing."""
    wanted = pages()
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def pages() -> dict[str, str]:
    """Every page by its file name."""
    modules = list(_modules())
    return {
        "configuration.md": _configuration(modules),
        "metrics.md": _metrics(modules),
        "errors.md": _errors(modules),
        "rpcs.md": _rpcs(),
    }


def _configuration(modules: Iterable[ModuleType]) -> str:
    """One section for each class that declares settings, so that what services share is said once."""
    order = list(SERVICES)
    found = [each for each in _classes(modules, ServiceSettings) if each.service in order]
    owners: dict[type[ServiceSettings], list[type[ServiceSettings]]] = {}
    for service in sorted(found, key=lambda each: order.index(each.service)):
        for owner in reversed(service.__mro__):
            if issubclass(owner, ServiceSettings) and inspect.get_annotations(owner).keys() & owner.model_fields:
                owners.setdefault(owner, []).append(service)
    parts = [_CONFIGURATION]
    for owner, services in owners.items():
        heading = f"## `{owner.__module__}`\n\n{_first_line(owner)}"
        names = ", ".join(each.service for each in services)
        declared = inspect.get_annotations(owner)
        rows = [_setting(row) for row in describe(services[0]) if row.name in declared]
        parts += [heading, f"Read by: {names}.", _table(_SETTING_COLUMNS, rows)]
    return _page(parts)


_SETTING_COLUMNS: Final = ("Variable", "Default", "Unit", "Bound", "Meaning")


def _setting(row: SettingDescription) -> Sequence[str]:
    variables = "<br>".join(f"`{name}`" for name in row.variables[1:])
    return variables, f"`{row.default}`" if row.default else "–", row.unit, row.bound, _inline(row.description)


def _metrics(modules: Iterable[ModuleType]) -> str:
    parts = [_METRICS]
    for module in modules:
        declared: Sequence[CounterSpec | GaugeSpec | HistogramSpec] = getattr(module, "METRICS", ())
        if declared:
            rows = [
                (f"`{each.name}`", each.type_name, ", ".join(f"`{label}`" for label in each.labels), each.meaning)
                for each in declared
            ]
            parts += [f"## `{module.__name__}`", _first_line(module), _table(_METRIC_COLUMNS, rows)]
    return _page(parts)


_METRIC_COLUMNS: Final = ("Name", "Type", "Labels", "Meaning")


def _errors(modules: Iterable[ModuleType]) -> str:
    """All reasons in the order of `TABLE`; a class that does not name a reason of its own is its parent to a caller."""
    by_reason: dict[str, list[type[MeshError]]] = {}
    for each in _classes(modules, MeshError):
        if "reason" in vars(each):
            by_reason.setdefault(each.reason, []).append(each)
    order = list(TABLE)
    rows = [
        (
            f"`{reason}`",
            kind.value,
            f"`{TABLE[kind].grpc_status}`",
            str(TABLE[kind].http_status),
            _retry(TABLE[kind].retry_seconds),
            _meanings(classes),
        )
        for reason, classes in sorted(by_reason.items(), key=lambda item: (order.index(item[1][0].kind), item[0]))
        for kind in [_one_kind(classes)]
    ]
    transport = [(f"`{reason}`", str(status), f"{title}.") for reason, (status, title) in TRANSPORT.items()]
    return _page([
        _ERRORS,
        _table(("Reason", "Kind", "gRPC status", "HTTP", "Retry", "Meaning"), rows),
        _TRANSPORT_ERRORS,
        _table(("Reason", "HTTP", "Meaning"), transport),
    ])  # fmt: skip


def _one_kind(classes: Sequence[type[MeshError]]) -> Kind:
    """The kind of a reason that several services may have; to callers it must be one."""
    kinds = {each.kind for each in classes}
    if len(kinds) > 1:
        raise SystemExit(f"{classes[0].reason} is of several kinds: {', '.join(sorted(each.value for each in kinds))}")
    return classes[0].kind


def _meanings(classes: Sequence[type[MeshError]]) -> str:
    """What the reason means; by service where that differs."""
    if len(classes) == 1:
        return _first_line(classes[0])
    names = {package: name for name, package in SERVICES.items()}
    return "<br>".join(
        f"{names.get(root, root)}: {_first_line(each)}"
        for each in classes
        for root in [each.__module__.partition(".")[0]]
    )


def _retry(seconds: float | None) -> str:
    return "no" if seconds is None else f"after {seconds:g} s"


def _rpcs() -> str:
    parts = [_RPCS]
    for file in _contract().file:
        for index, service in enumerate(file.service):
            methods = list(enumerate(service.method))
            rows = [_rpc(method) for _, method in methods]
            parts += [f"## `{file.package}.{service.name}`", _comment(file, index), _table(_RPC_COLUMNS, rows)]
            parts += [f"### {method.name}\n\n{_comment(file, index, number)}" for number, method in methods]
    return _page(parts)


_RPC_COLUMNS: Final = ("RPC", "Scopes", "Repeats", "REST route", "Body limit", "Objective", "Cache")


def _rpc(method: MethodDescriptorProto) -> Sequence[str]:
    options = method.options.Extensions[options_pb2.rpc]
    repeats = {
        options_pb2.IDEMPOTENCY_READ_ONLY: "no effect",
        options_pb2.IDEMPOTENCY_BY_REQUEST_ID: "by `request_id`",
    }[options.idempotency]
    objective_ms = options.latency_objective.ToMilliseconds()
    cache: str = options_pb2.CachePolicy.Name(options.cache).removeprefix("CACHE_POLICY_").lower()
    return (
        f"[{method.name}](#{method.name.lower()}){' (stream)' if method.server_streaming else ''}",
        "public" if options.public else " ".join(f"`{scope}`" for scope in options.scopes),
        repeats,
        _route(method.options.Extensions[annotations_pb2.http]),  # type: ignore[index]  # its stub is not typed
        _bytes(options.body_limit_bytes) if options.body_limit_bytes else "–",
        f"{objective_ms} ms" if objective_ms else "–",
        "–" if cache == "unspecified" else cache,
    )


def _route(rule: http_pb2.HttpRule) -> str:
    """The RPC's routes, additional bindings included."""
    bindings = [(each.WhichOneof("pattern"), each) for each in (rule, *rule.additional_bindings)]
    return "<br>".join(f"`{verb.upper()} {getattr(each, verb)}`" for verb, each in bindings if verb) or "–"


def _bytes(count: int) -> str:
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} bytes"


def _contract() -> FileDescriptorSet:
    """The compiled contract with its comments, which generated stubs do not have."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "contract.binpb")
        build_image(image, with_comments=True)
        return FileDescriptorSet.FromString(image.read_bytes())


def _comment(file: FileDescriptorProto, service: int, method: int | None = None) -> str:
    path = [_SERVICE_FIELD, service] + ([] if method is None else [_METHOD_FIELD, method])
    found = (each for each in file.source_code_info.location if list(each.path) == path)
    return "\n".join(line.strip() for each in found for line in each.leading_comments.strip().splitlines())


def _modules() -> Iterator[ModuleType]:
    """Every module of the platform and of its services, in order of name."""
    for root in PACKAGES:
        package = importlib.import_module(root)
        yield package
        for found in sorted(pkgutil.walk_packages(package.__path__, f"{root}."), key=lambda each: each.name):
            if not found.name.endswith(".__main__"):
                yield importlib.import_module(found.name)


def _classes(modules: Iterable[ModuleType], parent: type[T]) -> list[type[T]]:
    """The subclasses of `parent`, not itself, that these modules define."""
    return [
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, parent)
        and each is not parent
        and each.__module__ == module.__name__
    ]


def _first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n\n")[0].replace("\n", " ")


def _inline(text: str) -> str:
    return " ".join(text.split())


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
