"""Which user the embedded servers run as: PostgreSQL refuses to run as root, so root lends them a system user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from meshctl.refusal import SetupRefused

NAME = "beautymesh"
_SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The system user that root starts the servers as."""

    uid: int
    gid: int

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Runs a short command as this user, in `/` and without root's groups."""
        return subprocess.run(
            # By way of a shell, so that a program this user cannot reach is an exit code like any other failure.
            ["/bin/sh", "-c", 'exec "$@"', "sh", *command],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def can_enter(self, folder: Path) -> bool:
        """Tells by trying, so that access lists and mounts count as well as mode bits."""
        return self.run(["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)]).returncode == 0


def find_server_user() -> ServerUser | None:
    """The servers' user if it exists already; None also for an ordinary caller, whose servers run as itself."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        return None
    return ServerUser(entry.pw_uid, entry.pw_gid)


def ensure_server_user() -> ServerUser | None:
    """The servers' user, made if it is missing; None for an ordinary caller, whose servers run as itself.

    Raises:
        SetupRefused: when this system offers no way to make a system user.
    """
    if os.geteuid() != 0:
        return None
    said = ""
    if find_server_user() is None:
        said = _add_user()
    # Asked again even after a failure: another `up` may have made it meanwhile.
    user = find_server_user()
    if user is None:
        raise SetupRefused(
            f"PostgreSQL does not run as root, and the system user {NAME} could not be made: {said}",
            f"make it yourself: useradd --system --user-group {NAME}",
            "run beautymesh as an ordinary user",
        )
    return user


def _add_user() -> str:
    """Adds the user by whichever program this system has; returns what the program complained of."""
    shell = "/usr/sbin/nologin" if Path("/usr/sbin/nologin").exists() else "/bin/false"
    home = ["--home-dir", "/nonexistent", "--no-create-home"]
    commands = [
        ["useradd", "--system", "--user-group", *home, "--shell", shell, NAME],
        ["adduser", "-S", "-D", "-H", "-s", shell, NAME],  # BusyBox
    ]
    for command in commands:
        if program := shutil.which(command[0], path=_SBIN):
            result = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
            return result.stderr.strip()
    return "there is neither useradd nor adduser"
