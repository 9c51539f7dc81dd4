"""Ports on loopback that stay ours while the process behind them is restarted."""

from __future__ import annotations

import contextlib
import socket
import sys

from meshctl.refusal import SetupRefused

HOST = "127.0.0.1"


class Ports:
    """Free ports, each held by a bound socket that never listens, hence never receives a connection."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def reserve(self, port: int = 0) -> int:
        """This port, or one that was free, for a child of this user to listen on as often as it is restarted.

        On Linux a second socket may bind to it as long as both say so and ours does not listen (tried with gRPC,
        Granian and asyncio); a stranger's bind fails, and the kernel hands it to nobody. Elsewhere the port is only
        found.

        Raises:
            SetupRefused: the port is taken, or may not be had.
        """
        if port:
            require_free(port)
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((HOST, port))
        port = holder.getsockname()[1]
        if sys.platform.startswith("linux"):
            self._held.append(holder)
        else:
            holder.close()
        return port

    def close(self) -> None:
        """Gives all ports back."""
        for holder in self._held:
            holder.close()
        self._held.clear()


def require_free(port: int) -> None:
    """Refuses a port that somebody listens on: sharing it, as our own socket would, splits its callers between two.

    Raises:
        SetupRefused
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as fault:
            raise SetupRefused(
                f"port {port} cannot be had: {fault.strerror}", "choose another one with --port"
            ) from None
