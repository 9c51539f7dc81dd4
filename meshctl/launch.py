"""How a child starts: as its user, bound to its parent's life, then replaced by its program.

Run as a script, before any import of the project: `python -I -S launch.py PARENT SIGNAL UID GID PROGRAM [ARGUMENT …]`,
where UID and GID are -1 to keep the caller's. The caller gives the child a session of its own (`start_new_session`).

When the parent ends, however it ends, the child receives SIGNAL. On Linux the kernel sees to it; elsewhere this process
stays between the two, asks twice a second who its parent is, and passes signals on.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

PR_SET_PDEATHSIG = 1

POLL_SECONDS = 0.5

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def main(arguments: list[str]) -> int:
    """Becomes the program on Linux; elsewhere returns the program's exit code."""
    parent, death_signal, uid, gid = map(int, arguments[:4])
    command = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if not sys.platform.startswith("linux"):
        return shepherd(parent, death_signal, command)
    # After setuid, which clears it; execve keeps it, because no program of ours is setuid. It is bound to the parent's
    # *thread*: children are started from the main thread only.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal)
    # The parent may have died before the line above; then nobody will ever send the signal.
    if os.getppid() != parent:
        return 1
    return os.execvp(command[0], command)  # noqa: S606  # no shell is the point


def shepherd(parent: int, death_signal: int, command: list[str]) -> int:
    """Runs the program as a child of this process and ends it when `parent` is gone."""
    child = subprocess.Popen(command)

    def forward(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in FORWARDED:
        signal.signal(number, forward)
    while child.poll() is None:
        if os.getppid() != parent:
            child.send_signal(death_signal)
            return child.wait()
        time.sleep(POLL_SECONDS)
    return child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
