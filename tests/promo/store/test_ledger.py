"""The audit stays linear: what it reads of a promotion's redemptions does not grow with the number of its profiles."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from promo_svc.store.ledger import COUNTERS_SQL
from tests.promo.shop import PromoDatabase

REDEMPTIONS = 2_000
CODES = 10


def read_of(plan: dict[str, Any], table: str) -> int:
    """How many rows of a table a plan has read, those that it then left out included."""
    rows = 0
    if plan.get("Relation Name") == table:
        rows += round((plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"])
    return rows + sum(read_of(part, table) for part in plan.get("Plans", []))


async def test_a_counter_reads_only_the_redemptions_that_it_counts(
    database: PromoDatabase, engine: AsyncEngine
) -> None:
    database.rows(f"""
        INSERT INTO redemption_offer
        SELECT 'r' || n, 'open', 'C' || n % {CODES}, 'p' || n, 0, NULL, true
        FROM generate_series(1, {REDEMPTIONS}) AS n;
        INSERT INTO counter SELECT 'open', '', '', 0, {REDEMPTIONS}, 0, 1;
        INSERT INTO counter SELECT 'open', '', 'p' || n, 0, 1, 0, 1 FROM generate_series(1, {REDEMPTIONS}) AS n;
        INSERT INTO counter SELECT 'open', 'C' || n, '', 0, {REDEMPTIONS // CODES}, 0, 1
        FROM generate_series(0, {CODES - 1}) AS n;
        INSERT INTO counter SELECT 'open', 'C' || n % {CODES}, 'p' || n, 0, 1, 0, 1
        FROM generate_series(1, {REDEMPTIONS}) AS n;
        ANALYZE redemption_offer, counter""")
    explained = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {COUNTERS_SQL.text}")
    start = {"promotion_id": "", "coupon_code": "", "profile_id": "", "rows": 10 * REDEMPTIONS}
    async with engine.connect() as connection:
        ((plan,),) = (await connection.execute(explained, start)).all()
    # All of them once for the promotion, for its profiles, for its codes, and for the profiles of its codes.
    assert read_of(plan[0]["Plan"], "redemption_offer") == 4 * REDEMPTIONS
