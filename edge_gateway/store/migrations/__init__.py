"""The schema's history: Alembic scripts in `versions`, numbered in one line."""

from __future__ import annotations

from pathlib import Path

MIGRATIONS = Path(__file__).parent
