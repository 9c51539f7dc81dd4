"""Runs the promo process: `python -m promo_svc serve | migrate`."""

from __future__ import annotations

from meshkit.main import main
from promo_svc.settings import PromoSettings
from promo_svc.store.migrations import MIGRATIONS

if __name__ == "__main__":
    main(PromoSettings, "promo_svc.bootstrap", MIGRATIONS)
