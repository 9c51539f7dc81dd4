"""Where everything of one mesh on one machine lives, and that only one `up` uses it at a time.

```
VERSION    layout of this folder; its presence makes the folder ours
lock       held by flock while `up` runs; holds its process id
secrets/   passwords, 0600        keys/   signing keys, 0600
postgres/  the database           run/    sockets
log/       <child>.log, bounded   bin/    copies of binaries that the servers' user cannot reach
```
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meshctl.refusal import SetupRefused
from meshctl.server_user import ServerUser

LAYOUT_VERSION = "1"

FREE_BYTES_MIN = 256 * 1024 * 1024
"""Below this much free disk `up` does not start: an empty cluster and its first WAL take about 100 MiB, and a
PostgreSQL that meets a full disk while it works stops with a panic."""

SOCKET_PATH_BYTES_MAX = 100
"""A Unix socket's path must fit into 104 bytes on macOS and 108 on Linux, the closing zero included."""

_LONGEST_SOCKET = ".s.PGSQL.5432.lock"


def default_folder() -> Path:
    """The state folder when none is named: the system's for root, the user's data folder otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/beautymesh")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "beautymesh"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "beautymesh"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """One state folder, locked by this process."""

    path: Path
    server_user: ServerUser | None

    def make(self, name: str, *, for_server: bool = False) -> Path:
        """A folder of ours, 0700; `for_server` gives it to the servers' user."""
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        if for_server:
            self.give(folder)
        return folder

    def give(self, path: Path) -> None:
        """Makes the servers' user the owner, where there is one."""
        if self.server_user is not None:
            os.chown(path, self.server_user.uid, self.server_user.gid, follow_symlinks=False)

    def secret(self, name: str) -> str:
        """A random password that stays the same from the first call on."""
        file = self.make("secrets") / name
        if not file.exists():
            write_private(file, secrets.token_urlsafe(32))
        return file.read_text(encoding="ascii")

    def socket_folder(self) -> Path:
        """Where the servers put their sockets: `run/`, or a short private folder when that path is too long.

        Raises:
            SetupRefused: when somebody else occupies the short folder's name.
        """
        if len(os.fsencode(self.path / "run" / _LONGEST_SOCKET)) <= SOCKET_PATH_BYTES_MAX:
            return self.make("run", for_server=True)
        folder = self._short_folder()
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            self.give(folder)
        found = folder.lstat()
        owner = os.geteuid() if self.server_user is None else self.server_user.uid
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) != 0o700:  # noqa: PLR2004  # private
            raise SetupRefused(
                f"{self.path} is too long a path for sockets, and {folder}, which would hold them, is not ours",
                f"remove {folder}",
                "choose a shorter folder with --state",
            )
        return folder

    def clear_sockets(self) -> None:
        """Removes the short socket folder, if there is one; all servers have stopped."""
        shutil.rmtree(self._short_folder(), ignore_errors=True)

    def _short_folder(self) -> Path:
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        # Only root writes to /run; in /tmp the owner and the mode are checked.
        parent = Path("/run") if os.geteuid() == 0 and Path("/run").is_dir() else Path("/tmp")  # noqa: S108  # checked
        return parent / f"beautymesh-{name}"


def write_private(file: Path, text: str) -> None:
    """Writes a 0600 file in one step: a reader sees the old content, or all of the new one."""
    fresh = file.with_name(f"{file.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(descriptor, 0o600)
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
    fresh.replace(file)


@contextlib.contextmanager
def open_state(path: Path, server_user: ServerUser | None) -> Iterator[StateFolder]:
    """Makes or opens a state folder and holds its lock.

    Raises:
        SetupRefused: before anything is changed, when the folder is somebody else's, in use, on a full disk, or closed
            to this user or to the servers' user.
    """
    path = path.resolve()
    check_usable(path, server_user)
    _make_folders(path, server_user)
    with _locked(path):
        version = path / "VERSION"
        if not version.exists():
            version.write_text(f"{LAYOUT_VERSION}\n", encoding="ascii")
        yield StateFolder(path, server_user)


def check_usable(path: Path, server_user: ServerUser | None) -> None:
    """Proves that a state folder can be at `path`, without making it.

    Raises:
        SetupRefused: saying what stands in the way.
    """
    existing = path
    while not os.path.exists(existing):  # noqa: PTH110  # Path.exists raises inside a folder that is closed to us
        existing = existing.parent
    elsewhere = "choose another folder with --state"
    if not existing.is_dir():
        raise SetupRefused(f"{existing} is not a folder", elsewhere)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise SetupRefused(f"you may not write to {existing}", f"get write access to {existing}", elsewhere)
    if existing == path:
        _check_ours(path, elsewhere)
    if server_user is not None:
        _check_enterable(path, existing, server_user)
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < FREE_BYTES_MIN:
        raise SetupRefused(
            f"{existing} has {free_bytes // 2**20} MiB of free disk, {FREE_BYTES_MIN // 2**20} MiB are needed",
            "make room there",
            elsewhere,
        )


def _check_ours(path: Path, elsewhere: str) -> None:
    version = path / "VERSION"
    if not version.exists():
        # A lock alone is what an `up` leaves that was killed before it had written anything else.
        if any(entry.name != "lock" for entry in path.iterdir()):
            raise SetupRefused(f"{path} holds other things and is not a state folder", "empty it", elsewhere)
        return
    found = version.read_text(encoding="ascii").strip()
    if found != LAYOUT_VERSION:
        raise SetupRefused(
            f"{path} has layout {found}, this version of beautymesh knows layout {LAYOUT_VERSION}",
            "use the version that made it",
            elsewhere,
        )


def _check_enterable(path: Path, existing: Path, server_user: ServerUser) -> None:
    """The state folder itself is ours and opened by `_make_folders`; its parents are not ours to open."""
    outside = existing.parent if existing == path else existing
    if server_user.can_enter(outside):
        return
    closed = next(folder for folder in (*reversed(outside.parents), outside) if not server_user.can_enter(folder))
    raise SetupRefused(
        f"the servers' system user beautymesh may not enter {closed}, so it cannot reach {path}",
        "choose a folder with --state whose parents it can enter, or leave --state out: /var/lib/beautymesh",
        f"let it pass: chmod o+x {closed}",
        "run beautymesh as an ordinary user",
    )


def _make_folders(path: Path, server_user: ServerUser | None) -> None:
    # As root the servers' user must get through to its own folders, but need not list what is beside them.
    mode = 0o700 if server_user is None else 0o711
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=mode)
            folder.chmod(mode)
    if server_user is not None and not server_user.can_enter(path):
        path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IXOTH)


def lock_holder(path: Path) -> str:
    """The process id of the `up` that uses this folder; empty when nobody does."""
    try:
        stream = (path / "lock").open(encoding="ascii")
    except OSError:
        return ""
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return stream.read().strip() or "unknown"
    return ""


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = path / "lock"
    while True:
        stream = file.open("a+", encoding="ascii")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            stream.close()
            raise SetupRefused(
                f"{path} is in use by `beautymesh up` with process id {holder}",
                f"stop that one: kill {holder}",
                "choose another folder with --state",
            ) from None
        # The last holder removes the file before it lets go: what was locked just now may be gone from the folder.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), file.stat()):
                break
        stream.close()
    with stream:
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        try:
            yield
        finally:
            file.unlink()
