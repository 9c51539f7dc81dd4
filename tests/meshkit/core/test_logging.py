from __future__ import annotations

import json
import subprocess
import sys

import pytest

from meshkit.core.logging import REDACTED, redact

PROGRAM = """
import logging, structlog
from meshkit.core.logging import configure_logging
configure_logging(level="info", service="shop", worker=2, traceparent=lambda: "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
structlog.get_logger("ours").info("paid", order="o-1", email="ada@example.org")
structlog.get_logger("ours").debug("dropped")
logging.getLogger("theirs").warning("connect to %s", "postgresql://shop:hunter2@db/x")
try:
    raise ValueError("Bearer abc.def.ghi")
except ValueError:
    structlog.get_logger("ours").exception("failed")
"""


def test_log_is_one_json_object_a_line_with_trace_ids_and_no_secrets() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line["level"], line["logger"]) for line in lines] == [
        ("paid", "info", "ours"),
        (f"connect to postgresql://shop:{REDACTED}@db/x", "warning", "theirs"),
        ("failed", "error", "ours"),
    ]
    assert {(line["service"], line["worker"], line["trace_id"], line["span_id"]) for line in lines} == {
        ("shop", 2, "a" * 32, "b" * 16)
    }
    assert lines[0]["email"] == REDACTED
    assert lines[0]["order"] == "o-1"
    assert lines[2]["exception"].endswith(f"ValueError: Bearer {REDACTED}")


@pytest.mark.parametrize(
    "key", ["token", "access_token", "Authorization", "db_password", "email", "customer_email", "api_secret", "cookie"]
)
def test_value_is_hidden_by_its_key_at_any_depth(key: str) -> None:
    assert redact(None, "info", {"outer": [{key: "x"}]}) == {"outer": [{key: REDACTED}]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:pw@host/0", f"redis://user:{REDACTED}@host/0"),
        ("redis://:pw@host/0", f"redis://:{REDACTED}@host/0"),
        ("authorization: bearer xyz end", f"authorization: bearer {REDACTED} end"),
        ("got eyJhbGciOi.eyJzdWIi.sig-_1", f"got {REDACTED}"),
        ("nothing to hide at 10:30", "nothing to hide at 10:30"),
    ],
)
def test_secret_is_hidden_within_text(text: str, shown: str) -> None:
    assert redact(None, "info", {"event": text}) == {"event": shown}
