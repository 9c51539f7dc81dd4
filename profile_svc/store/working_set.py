"""What a batch reads before it decides, and what it writes after.

Both run on the kernel's connection in pipeline mode, inside its transaction, with the log's head locked: nobody else
writes these tables meanwhile, so nothing here locks a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshkit.log.model import Writer
from profile_svc.domain.decide import Body, WorkingSet
from profile_svc.domain.profiles import Profile
from profile_svc.domain.purchases import Purchase, RecordPurchase
from profile_svc.store.keys import SEPARATOR

PROFILE_COLUMNS = "profile.profile_id, profile.tags, profile.order_count, profile.create_time, profile.revision"
"""As `profile_of` takes them."""
_PROFILES_SQL = f"SELECT {PROFILE_COLUMNS} FROM profile WHERE profile_id = ANY(%b::text[])"
_TAKEN_SQL = "SELECT purchase_id FROM purchase WHERE purchase_id = ANY(%b::text[])"


def profile_of(row: Sequence[Any]) -> Profile:
    """A profile from a row of `PROFILE_COLUMNS`."""
    profile_id, tags, order_count, create_time, revision = row
    return Profile(profile_id, tuple(tags), order_count, create_time, revision)


async def load(connection: Writer, bodies: Sequence[Body]) -> WorkingSet:
    """The profiles that the bodies name, and which of their purchase ids are taken. One round trip."""
    state = WorkingSet()
    profile_ids = sorted({body.profile_id for body in bodies})
    purchase_ids = sorted({body.purchase_id for body in bodies if isinstance(body, RecordPurchase)})
    profiles = await connection.execute(_PROFILES_SQL, (profile_ids,), binary=True)
    taken = await connection.execute(_TAKEN_SQL, (purchase_ids,), binary=True) if purchase_ids else None
    for row in await profiles.fetchall():
        state.profiles[row[0]] = profile_of(row)
    if taken is not None:
        state.purchase_ids.update([row[0] for row in await taken.fetchall()])
    return state


async def save(connection: Writer, state: WorkingSet) -> None:
    """Queues the statements that write what the batch changed: one a table, however many rows."""
    if state.changed_profiles:
        await _save_profiles(connection, [state.profiles[each] for each in state.changed_profiles])
    if state.new_purchases:
        await _save_purchases(connection, state.new_purchases)


async def _save_profiles(connection: Writer, profiles: Sequence[Profile]) -> None:
    # unnest would flatten an array of arrays, so the tags of a profile travel as one text.
    await connection.execute(
        """
        INSERT INTO profile (profile_id, tags, order_count, create_time, revision)
        SELECT profile_id, string_to_array(tags, chr(31)), order_count, create_time, revision
        FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::timestamptz[], %b::bigint[])
             AS changed (profile_id, tags, order_count, create_time, revision)
        ON CONFLICT (profile_id) DO UPDATE SET (tags, order_count, revision) =
            (excluded.tags, excluded.order_count, excluded.revision)
        """,
        (
            [each.profile_id for each in profiles],
            [SEPARATOR.join(each.tags) for each in profiles],
            [each.order_count for each in profiles],
            [each.create_time for each in profiles],
            [each.revision for each in profiles],
        ),
    )


async def _save_purchases(connection: Writer, purchases: Sequence[Purchase]) -> None:
    await connection.execute(
        """
        INSERT INTO purchase (purchase_id, profile_id, order_reference, channel, total_minor, currency, line_count,
                              occur_time, record_time, revision)
        SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::bigint[], %b::text[], %b::integer[],
                             %b::timestamptz[], %b::timestamptz[], %b::bigint[])
        """,
        (
            [each.purchase_id for each in purchases],
            [each.profile_id for each in purchases],
            [each.order_reference for each in purchases],
            [each.channel for each in purchases],
            [each.total.minor for each in purchases],
            [each.total.currency for each in purchases],
            [len(each.lines) for each in purchases],
            [each.occur_time for each in purchases],
            [each.record_time for each in purchases],
            [each.revision for each in purchases],
        ),
    )
    lines = [(each.purchase_id, position, line) for each in purchases for position, line in enumerate(each.lines)]
    await connection.execute(
        """
        INSERT INTO purchase_line (purchase_id, position, sku, quantity, total_minor)
        SELECT * FROM unnest(%b::text[], %b::integer[], %b::text[], %b::bigint[], %b::bigint[])
        """,
        (
            [purchase_id for purchase_id, _, _ in lines],
            [position for _, position, _ in lines],
            [line.sku for _, _, line in lines],
            [line.quantity for _, _, line in lines],
            [line.total.minor if line.total else None for _, _, line in lines],
        ),
    )
