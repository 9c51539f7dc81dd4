"""How the log names what an event changed: a noun and its id, separated by U+001F, which no id may contain."""

from __future__ import annotations

from typing import Final

SEPARATOR: Final = "\x1f"
PROFILE: Final = "profile"


def profile_key(profile_id: str) -> str:
    """`profile␟id`. Purchases stand under their profile's key too: its balance counts them."""
    return f"{PROFILE}{SEPARATOR}{profile_id}"
