"""Which keys tokens are verified with: the public halves in a JWKS file, which is looked at again each second.

Only Ed25519 keys count. Of each the public members are taken and nothing else, so that a private key that somebody put
into the file by mistake is neither held nor published.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
from joserfc import jwk
from joserfc.errors import JoseError

from meshkit.core.settings import SettingsFault

LOOK_SECONDS: Final = 1.0
"""How long a change of the file may go unnoticed. A look is one `stat`, about 2 µs."""

_PUBLIC_MEMBERS: Final = ("kty", "crv", "x", "kid", "alg", "use")

_log = structlog.get_logger("meshkit.keys")


class KeyFile:
    """The keys of a file. One without any key is a key set that accepts nothing."""

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Reads the file at once, so that a wrong path stops the start. A clock that is set back must not stop looks.

        Raises:
            OSError: there is no such file.
            SettingsFault: it is no key set.
        """
        self._path = path
        self._monotonic = monotonic
        self._look_again = monotonic() + LOOK_SECONDS
        self._stamp: _Stamp | None = _stamp(path)
        self._refused: _Stamp | None = None
        self.keys = _read(path)
        self.published = _published(self.keys)

    def look(self) -> bool:
        """Whether the keys are others now. Looks once a second, at most, and raises nothing.

        A file that cannot be read leaves the keys as they are: it may be half-written, or gone for a moment. It is read
        again each second, and logged once.
        """
        now = self._monotonic()
        if now < self._look_again:
            return False
        self._look_again = now + LOOK_SECONDS
        stamp = None
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return False
            keys = _read(self._path)
        except (OSError, SettingsFault) as fault:
            if self._stamp is not None or stamp != self._refused:
                _log.error("the key file cannot be read; the keys stay as they are", fault=str(fault))
            self._stamp, self._refused = None, stamp
            return False
        self._stamp = stamp
        self.keys = keys
        self.published = _published(keys)
        return True


_Stamp = tuple[int, int, int]
"""What changes with a file's content."""


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path) -> jwk.KeySet:
    try:
        listed = json.loads(path.read_bytes())["keys"]
        if not isinstance(listed, list):
            raise TypeError("keys is no list")
        return jwk.KeySet([_public(each) for each in listed if _is_ours(each)])
    except (JoseError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # What a file may hold has no bound, and the library says little of what it raises for it.
        raise SettingsFault(f"{path} is no set of keys (JWKS): {error!r}") from error


def _is_ours(member: dict[str, Any]) -> bool:
    return member.get("kty") == "OKP" and member.get("crv") == "Ed25519"  # RFC 7517, section 5: ignore other kinds


def _public(member: dict[str, Any]) -> jwk.OKPKey:
    return jwk.OKPKey.import_key({name: member[name] for name in _PUBLIC_MEMBERS if name in member})


def _published(keys: jwk.KeySet) -> bytes:
    return json.dumps(keys.as_dict(private=False)).encode()
