"""What the log looks like: one JSON object a line on standard error, with trace ids, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Final

import structlog
from structlog.typing import EventDict, WrappedLogger

REDACTED: Final = "[redacted]"

SECRET_WORDS: Final = (
    "authorization", "birth", "cookie", "database_url", "email", "password", "phone", "private", "redis_url", "secret",
    "token",
)  # fmt: skip
"""A value is replaced whose key contains one of these words: credentials and personal data."""

_SECRET_KEY: Final = re.compile("|".join(SECRET_WORDS), re.IGNORECASE).search
_SECRET_TEXT: Final = re.compile(r"(?i)(bearer\s+)\S+|(://[^/\s:@]*:)[^@\s/]+(?=@)|\beyJ[\w-]+\.[\w-]+\.[\w-]*")


def configure_logging(*, level: str, service: str, worker: int, traceparent: Callable[[], str]) -> None:
    """Sends structlog's and the standard library's log through the same chain. Call it once, at the start of a process.

    `traceparent` gives the W3C context of the running task, empty outside of a span.
    """

    def add_context(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["worker"] = worker
        context = traceparent()
        if context:
            event["trace_id"], event["span_id"] = context[3:35], context[36:52]
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_context,
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replaces what must not be logged: values by their key, at any depth; tokens and passwords by their form."""
    return {key: _clean(key, value) for key, value in event.items()}


def _clean(key: str, value: object) -> object:
    if _SECRET_KEY(key):
        return REDACTED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(lambda found: f"{found[1] or found[2] or ''}{REDACTED}", value)
    if isinstance(value, dict):
        return {str(inner): _clean(str(inner), each) for inner, each in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", each) for each in value]
    return value
