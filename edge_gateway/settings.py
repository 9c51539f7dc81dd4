"""What the edge process can be told: what every process can."""

from __future__ import annotations

from typing import ClassVar

from meshkit.core.settings import ServiceSettings


class EdgeSettings(ServiceSettings):
    """The settings of edge_gateway."""

    service: ClassVar[str] = "edge"
