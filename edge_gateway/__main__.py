"""Runs the edge process: `python -m edge_gateway serve | migrate`."""

from __future__ import annotations

import sys

from edge_gateway.settings import EdgeSettings
from meshkit.main import main


def migrate(_settings: EdgeSettings) -> None:
    """There is no schema yet."""
    sys.stdout.write("edge: nothing to migrate yet\n")


if __name__ == "__main__":
    main(EdgeSettings, "edge_gateway.bootstrap", migrate)
