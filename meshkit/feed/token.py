"""Where a stream goes on: opaque to clients, the same for every process of a service."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 — an exception's name
from uuid import UUID
from zlib import crc32

from meshkit.core.errors import FieldViolation, ResumeTokenInvalid

_FIXED = Struct(">B16sQB")
"""Version, log, revision, length of the selection's hash; then the hash, `S` and the cursor if any, the checksum."""
_CHECKSUM = Struct(">I")
_VERSION = 1
_IN_SNAPSHOT = b"S"


@dataclass(frozen=True, slots=True)
class ResumeToken:
    """A stream's place in a log: after `revision`, and within the snapshot taken then if there is a `cursor`.

    `selection_hash` is that of the stream's filter, empty for a stream of everything. So the token is the same for all
    streams of one filter, and can be encoded with the message that they share.
    """

    log_id: str
    revision: int
    selection_hash: bytes = b""
    cursor: bytes | None = None

    def encode(self) -> str:
        """The token's text: base64url with a checksum. It holds no secret and grants nothing."""
        body = _FIXED.pack(_VERSION, UUID(self.log_id).bytes, self.revision, len(self.selection_hash))
        body += self.selection_hash
        if self.cursor is not None:
            body += _IN_SNAPSHOT + self.cursor
        return base64.urlsafe_b64encode(body + _CHECKSUM.pack(crc32(body))).decode("ascii").rstrip("=")

    @classmethod
    def decode(cls, text: str) -> ResumeToken:
        """Reads a token.

        Raises:
            ResumeTokenInvalid: it is not one of ours, or it is damaged.
        """
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            body, (checksum,) = data[: -_CHECKSUM.size], _CHECKSUM.unpack(data[-_CHECKSUM.size :])
            version, log_id, revision, hash_bytes = _FIXED.unpack_from(body)
        except (ValueError, binascii.Error, StructError) as fault:
            raise invalid("it cannot be read") from fault
        if version != _VERSION or checksum != crc32(body):
            raise invalid("it cannot be read")
        selection_hash, rest = body[_FIXED.size :][:hash_bytes], body[_FIXED.size + hash_bytes :]
        cursor = rest[1:] if rest else None
        return cls(str(UUID(bytes=log_id)), revision, selection_hash, cursor)


def invalid(description: str) -> ResumeTokenInvalid:
    """The refusal of a resume token."""
    violation = FieldViolation("resume_token", description)
    return ResumeTokenInvalid(f"the resume token is not valid: {description}", violations=(violation,))
