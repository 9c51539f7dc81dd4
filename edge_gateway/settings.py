"""What the edge process can be told: what every process can, where the services are, and how it serves HTTP."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from meshkit.core.settings import Listen, ServiceSettings


class EdgeSettings(ServiceSettings):
    """The settings of edge_gateway."""

    service: ClassVar[str] = "edge"
    service_scopes: ClassVar[frozenset[str]] = frozenset({"inventory.read"})

    http_listen: Listen = "127.0.0.1:0"
    """Address of the REST interface; port 0 takes a free one. TLS ends in front of it."""

    inventory_targets: str = "127.0.0.1:50051"
    """`host:port` of every inventory process, separated by commas, or one name to resolve (`dns:///inventory:50051`)."""

    promo_targets: str = "127.0.0.1:50052"
    """The same for promo."""

    profile_targets: str = "127.0.0.1:50053"
    """The same for profile."""

    database_connections_max: int = Field(default=16, ge=1, le=200)
    """Connections to PostgreSQL that this process opens at most."""

    cached_availabilities_max: int = Field(default=100_000, ge=1, le=10_000_000)
    """(SKU, channel) pairs whose availability is kept in memory; about 1 KiB each."""

    storefront_low_quantity: int = Field(default=5, ge=0, le=1_000_000)
    """Up to this many units the storefront says `low`."""

    storefront_quantity_max: int = Field(default=10, ge=1, le=1_000_000)
    """The storefront tells nobody of more units than this."""

    lease_seconds: float = Field(default=3.0, ge=0.5, le=60)
    """How long a process owns a checkout that it works on; after that another one takes it over."""

    checkout_keep_days: int = Field(default=90, ge=8, le=3650)
    """How long settled checkouts are kept. Repeats of requests are known at least 7 days."""

    scan_seconds: float = Field(default=1.0, ge=0.05, le=60)
    """How often a process looks for checkouts that nobody works on."""


def targets(setting: str) -> list[str]:
    """The addresses in a `*_targets` setting."""
    return [each.strip() for each in setting.split(",") if each.strip()]
