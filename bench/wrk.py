"""Load from wrk, if this machine has it: it costs a third of what a client of ours does."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

INSTALL: Final = "wrk is not here (apt-get install wrk): cached reads are loaded by a client of ours, which is slower"

_SCRIPT: Final = """
local number = 0
request = function()
  number = number % #requests + 1
  return requests[number]
end
done = function(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"requests":%d,"seconds":%f,"refused":%d,"broken":%d,"p50_ms":%f,"p99_ms":%f}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


def is_here() -> bool:
    """Whether it is installed."""
    return shutil.which("wrk") is not None


async def rate(
    url: str, paths: Sequence[tuple[str, Mapping[str, str]]], *, connections: int, seconds: int
) -> dict[str, Any]:
    """GETs of paths with their headers, in turn, as fast as one thread can.

    Raises:
        RuntimeError: it failed, or an answer was neither 2xx nor 3xx.
    """
    requests = ",\n".join(_formatted(path, headers) for path, headers in paths)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "requests.lua"
        script.write_text(f"init = function(args)\nrequests = {{{requests}}}\nend\n{_SCRIPT}", encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
            "--script", str(script), url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, said = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"wrk failed: {output.decode()}{said.decode()}")
    answer: dict[str, Any] = json.loads(said)
    if answer["refused"] or answer["broken"]:
        raise RuntimeError(f"wrk met {answer['refused']} refusals and {answer['broken']} broken connections")
    return {"per_second": answer["requests"] / answer["seconds"], **answer}


def _formatted(path: str, headers: Mapping[str, str]) -> str:
    """Lua that makes the bytes of one request."""
    fields = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items())
    return f'wrk.format("GET", {json.dumps(path)}, {{{fields}}})'
