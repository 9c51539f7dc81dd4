"""Runs the promo process: `python -m promo_svc serve | migrate`."""

from __future__ import annotations

import sys

from meshkit.main import main
from promo_svc.settings import PromoSettings


def migrate(_settings: PromoSettings) -> None:
    """There is no schema yet."""
    sys.stdout.write("promo: nothing to migrate yet\n")


if __name__ == "__main__":
    main(PromoSettings, "promo_svc.bootstrap", migrate)
