from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.rest.client import Client, kitchen_client


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """The kitchen, with handlers that answer what they were asked."""
    return kitchen_client(tmp_path)
