"""How the log names what an event changed: a noun and its codes, separated by U+001F, which no code may contain."""

from __future__ import annotations

from inventory_svc.domain.stock import LevelKey

SEPARATOR = "\x1f"
AFTER_SEPARATOR = "\x20"
"""The next character: the end of the range of keys that begin with a code and a separator."""
LEVEL, SELLABLE, SKU, LOCATION, RESERVATION = "level", "sellable", "sku", "location", "reservation"


def level_key(key: LevelKey) -> str:
    """`level␟sku␟location␟lot`."""
    return f"{LEVEL}{SEPARATOR}{key.sku}{SEPARATOR}{key.location}{SEPARATOR}{key.lot}"


def sellable_key(sku: str, channel: str) -> str:
    """`sellable␟sku␟channel`."""
    return f"{SELLABLE}{SEPARATOR}{sku}{SEPARATOR}{channel}"


def noun_key(noun: str, code: str) -> str:
    """`sku␟code`, `location␟code` or `reservation␟id`."""
    return f"{noun}{SEPARATOR}{code}"
