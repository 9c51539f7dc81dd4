"""What a batch writes after it has decided: one statement a table, however many rows.

Queued on the kernel's connection, in its transaction; see `working_set`. Tables that others refer to come first.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshkit.log.model import Writer
from promo_svc.domain.campaigns import AmountOff, Campaign, Coupon, PercentOff, Promotion
from promo_svc.domain.counters import Counter, CounterKey
from promo_svc.domain.decide import WorkingSet
from promo_svc.domain.prices import Price
from promo_svc.domain.redemptions import Redemption, State


async def save(connection: Writer, state: WorkingSet) -> None:
    """Queues the statements that write what the batch changed."""
    if state.changed_prices:
        await _save_prices(connection, [(state.prices[key], at) for key, at in state.changed_prices.items()])
    if state.changed_campaigns:
        await _save_campaigns(connection, [state.campaigns[each] for each in state.changed_campaigns])
    if state.changed_promotions:
        await _save_promotions(connection, [state.promotions[each] for each in state.changed_promotions])
    if state.changed_coupons:
        await _save_coupons(connection, [state.coupons[each] for each in state.changed_coupons])
    if state.changed_counters:
        await _save_counters(connection, [(key, state.counters[key]) for key in state.changed_counters])
    if state.changed_redemptions:
        await _save_redemptions(connection, [state.redemptions[each] for each in state.changed_redemptions])


async def _save_prices(connection: Writer, prices: Sequence[tuple[Price, int]]) -> None:
    await connection.execute(
        """
        INSERT INTO price (sku, channel, currency, valid_from, price_minor, tax_included, revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::bigint[], %b::boolean[],
                             %b::bigint[])
        ON CONFLICT (sku, channel, currency, valid_from) DO UPDATE SET (price_minor, tax_included, revision) =
            (excluded.price_minor, excluded.tax_included, excluded.revision)
        """,
        (
            [price.key.sku for price, _ in prices],
            [price.key.channel for price, _ in prices],
            [price.key.currency for price, _ in prices],
            [price.key.valid_from for price, _ in prices],
            [price.price_minor for price, _ in prices],
            [price.tax_included for price, _ in prices],
            [revision for _, revision in prices],
        ),
    )


async def _save_campaigns(connection: Writer, campaigns: Sequence[Campaign]) -> None:
    await connection.execute(
        """
        INSERT INTO campaign (campaign_id, name, start_time, end_time, create_time, revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::timestamptz[], %b::timestamptz[], %b::timestamptz[],
                             %b::bigint[])
        ON CONFLICT (campaign_id) DO UPDATE SET (end_time, revision) = (excluded.end_time, excluded.revision)
        """,
        (
            [each.campaign_id for each in campaigns],
            [each.name for each in campaigns],
            [each.start_time for each in campaigns],
            [each.end_time for each in campaigns],
            [each.create_time for each in campaigns],
            [each.revision for each in campaigns],
        ),
    )


async def _save_promotions(connection: Writer, promotions: Sequence[Promotion]) -> None:
    """New ones: nothing changes a promotion."""
    percents = [each.benefit if isinstance(each.benefit, PercentOff) else None for each in promotions]
    amounts = [each.benefit.amount if isinstance(each.benefit, AmountOff) else None for each in promotions]
    await connection.execute(
        """
        INSERT INTO promotion (promotion_id, campaign_id, name, condition, selector, percent_off_basis_points,
                               amount_off_minor, amount_off_currency, total_max, per_profile_max, needs_coupon,
                               priority, revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::integer[], %b::bigint[],
                             %b::text[], %b::bigint[], %b::bigint[], %b::boolean[], %b::integer[], %b::bigint[])
        """,
        (
            [each.promotion_id for each in promotions],
            [each.campaign_id for each in promotions],
            [each.name for each in promotions],
            [each.condition for each in promotions],
            [each.selector for each in promotions],
            [percent.basis_points if percent else None for percent in percents],
            [amount.minor if amount else None for amount in amounts],
            [amount.currency if amount else None for amount in amounts],
            [each.limit.total for each in promotions],
            [each.limit.per_profile for each in promotions],
            [each.needs_coupon for each in promotions],
            [each.priority for each in promotions],
            [each.revision for each in promotions],
        ),
    )


async def _save_coupons(connection: Writer, coupons: Sequence[Coupon]) -> None:
    """New ones: nothing changes a coupon."""
    await connection.execute(
        """
        INSERT INTO coupon (code, promotion_id, campaign_id, total_max, per_profile_max, revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[])
        """,
        (
            [each.code for each in coupons],
            [each.promotion_id for each in coupons],
            [each.campaign_id for each in coupons],
            [each.limit.total for each in coupons],
            [each.limit.per_profile for each in coupons],
            [each.revision for each in coupons],
        ),
    )


async def _save_counters(connection: Writer, counters: Sequence[tuple[CounterKey, Counter]]) -> None:
    await connection.execute(
        """
        INSERT INTO counter (promotion_id, coupon_code, profile_id, held, committed, redemptions_max, revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[])
        ON CONFLICT (promotion_id, coupon_code, profile_id) DO UPDATE SET (held, committed, revision) =
            (excluded.held, excluded.committed, excluded.revision)
        """,
        (
            [key.promotion_id for key, _ in counters],
            [key.coupon_code for key, _ in counters],
            [key.profile_id for key, _ in counters],
            [counter.counts.held for _, counter in counters],
            [counter.counts.committed for _, counter in counters],
            [counter.redemptions_max for _, counter in counters],
            [counter.revision for _, counter in counters],
        ),
    )


async def _save_redemptions(connection: Writer, changed: Sequence[Redemption]) -> None:
    await connection.execute(
        """
        INSERT INTO redemption (redemption_id, client_id, profile_id, state, order_reference, create_time, expire_time,
                                revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
                             %b::timestamptz[], %b::timestamptz[], %b::bigint[])
        ON CONFLICT (redemption_id) DO UPDATE SET (state, order_reference, revision) =
            (excluded.state, excluded.order_reference, excluded.revision)
        """,
        (
            [each.redemption_id for each in changed],
            [each.client_id for each in changed],
            [each.profile_id for each in changed],
            [each.state.value for each in changed],
            [each.order_reference for each in changed],
            [each.create_time for each in changed],
            [each.expire_time for each in changed],
            [each.revision for each in changed],
        ),
    )
    offers = [(each, position, offer) for each in changed for position, offer in enumerate(each.offers)]
    await connection.execute(
        """
        INSERT INTO redemption_offer (redemption_id, promotion_id, coupon_code, profile_id, position, held_until,
                                      committed)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::integer[], %b::timestamptz[],
                             %b::boolean[])
        ON CONFLICT (redemption_id, promotion_id) DO UPDATE SET (held_until, committed) =
            (excluded.held_until, excluded.committed)
        """,
        (
            [each.redemption_id for each, _, _ in offers],
            [offer.promotion_id for _, _, offer in offers],
            [offer.coupon_code for _, _, offer in offers],
            [each.profile_id for each, _, _ in offers],
            [position for _, position, _ in offers],
            [each.expire_time if each.state is State.HELD else None for each, _, _ in offers],
            [each.state is State.COMMITTED for each, _, _ in offers],
        ),
    )
