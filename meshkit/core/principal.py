"""Who is calling, and what that caller may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meshkit.core.errors import MissingScope, OutsideGrant

SERVICE_PREFIX: Final = "service:"
"""How the subject of a mesh service begins; no other token may have such a one."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller on whose authority a command runs: the token's `act` where there is one, else its subject.

    `client_id` is the party that request ids belong to. Empty `channels` or `locations` mean no restriction.
    `via` is the mesh service that speaks for the caller (`service:edge`), empty for a direct caller.
    """

    subject: str
    client_id: str
    scopes: frozenset[str]
    channels: frozenset[str] = frozenset()
    locations: frozenset[str] = frozenset()
    via: str = ""

    @property
    def is_service(self) -> bool:
        """Whether a service of the mesh calls, for itself or for somebody."""
        return bool(self.via) or self.subject.startswith(SERVICE_PREFIX)

    def require_scopes(self, scopes: frozenset[str]) -> None:
        """Refuses unless the caller holds all of them.

        Raises:
            MissingScope: naming the missing ones.
        """
        if not scopes <= self.scopes:
            missing = " ".join(sorted(scopes - self.scopes))
            raise MissingScope(f"the token lacks the scope {missing}", metadata={"scopes": missing})

    def require_channel(self, channel: str) -> None:
        """Refuses a channel outside the caller's grant.

        Raises:
            OutsideGrant: naming the channel.
        """
        if self.channels and channel not in self.channels:
            raise OutsideGrant(f"the token does not cover the channel {channel}", metadata={"channel": channel})

    def require_location(self, location: str) -> None:
        """Refuses a location outside the caller's grant.

        Raises:
            OutsideGrant: naming the location.
        """
        if self.locations and location not in self.locations:
            raise OutsideGrant(f"the token does not cover the location {location}", metadata={"location": location})


ANONYMOUS = Principal(subject="anonymous", client_id="anonymous", scopes=frozenset())
"""The caller of a public RPC."""
