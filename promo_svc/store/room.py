"""How many promotions every cart is tried against: counted under the head lock, so that nobody makes one too many."""

from __future__ import annotations

from datetime import datetime

from meshkit.log.model import Writer
from promo_svc.domain.campaigns import PROMOTIONS_MAX

_RUNNING_SQL = """
    SELECT count(*) FROM (
        SELECT FROM campaign JOIN promotion USING (campaign_id)
        WHERE (end_time IS NULL OR end_time > %b) AND NOT needs_coupon LIMIT %b
    ) AS running"""


async def count_running(connection: Writer, now: datetime) -> int:
    """Promotions that need no coupon, of campaigns that have not ended by `now`; at most `PROMOTIONS_MAX`."""
    cursor = await connection.execute(_RUNNING_SQL, (now, PROMOTIONS_MAX), binary=True)
    ((running,),) = await cursor.fetchall()
    return int(running)
