"""How `Idempotency-Key` and the request's own `request_id` become one id.

Either may carry it; both must agree; where neither does, the edge makes one. The answer always says which it was, also
when it is a problem, so that the caller can repeat the request.
"""
# ruff: noqa: ANN401 — request messages are of any type

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from meshkit.core.errors import InvalidRequest
from meshkit.core.ids import new_id
from meshkit.rpc.options import Idempotency, RpcPolicy

FIELD: Final = "request_id"
HEADER: Final = b"idempotency-key"

KEY_CHARACTERS_MAX: Final = 128
"""As the contract's `request_id`."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def carries_request_id(policy: RpcPolicy, request: Descriptor) -> bool:
    """Whether an RPC is repeated safely by an id in its request."""
    field = request.fields_by_name.get(FIELD)
    return (
        policy.idempotency is Idempotency.BY_REQUEST_ID
        and field is not None
        and field.type == FieldDescriptor.TYPE_STRING
        and not field.is_repeated
    )


def header_key(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The key that the headers carry; empty where there is none. It may stand in quotes, as an RFC 8941 string does.

    Raises:
        InvalidRequest: there are several, or it could not be a request id.
    """
    found = {value for name, value in headers if name == HEADER}
    if not found:
        return ""
    if len(found) > 1:
        raise InvalidRequest.of("Idempotency-Key", "is given twice with different values")
    try:
        key = found.pop().decode().strip()
    except UnicodeDecodeError:
        raise InvalidRequest.of("Idempotency-Key", "is not UTF-8") from None
    if len(key) > 1 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    if not key or not _can_be_sent(key):
        raise InvalidRequest.of("Idempotency-Key", f"must have 1 to {KEY_CHARACTERS_MAX} characters, none of control")
    return key


def settle(request: Any, key: str) -> str:
    """Puts the one id into the request and returns it.

    Raises:
        InvalidRequest: header and request differ.
    """
    given: str = request.request_id
    if given and key and given != key:
        raise InvalidRequest.of("requestId", "differs from the header Idempotency-Key")
    request.request_id = given or key or new_id()
    return str(request.request_id)


def answer_headers(key: str) -> list[tuple[bytes, bytes]]:
    """The header that says which id was used; none where there is no id or none that a header can hold."""
    return [(HEADER, key.encode())] if key and _can_be_sent(key) else []


def _can_be_sent(key: str) -> bool:
    return len(key) <= KEY_CHARACTERS_MAX and not _CONTROL.search(key)
