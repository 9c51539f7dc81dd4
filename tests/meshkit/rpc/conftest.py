from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.meshkit.rpc.echo import Stack, echo_stack


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncGenerator[Stack, None]:
    async with echo_stack(tmp_path) as running:
        yield running
