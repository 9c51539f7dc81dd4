"""Runs the edge process: `python -m edge_gateway serve | migrate`."""

from __future__ import annotations

from edge_gateway.settings import EdgeSettings
from edge_gateway.store.migrations import MIGRATIONS
from meshkit.main import main

if __name__ == "__main__":
    main(EdgeSettings, "edge_gateway.bootstrap", MIGRATIONS)
