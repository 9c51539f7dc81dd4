"""The last line of defence: what the database refuses whatever the code does, each rule by its name."""

from __future__ import annotations

import psycopg
import pytest

from profile_svc.domain.profiles import UpsertProfile
from tests.profile.people import People, PeopleDatabase, buy

BROKEN = [
    ("order_count_is_not_negative", "UPDATE profile SET order_count = -1"),
    ("profile_pkey", "INSERT INTO profile VALUES ('ann', '{}', 0, now(), 1)"),
    ("currency_is_an_iso_4217_code", "UPDATE purchase SET currency = 'eur'"),
    ("a_purchase_has_lines", "UPDATE purchase SET line_count = 0"),
    ("purchase_pkey", "UPDATE purchase SET purchase_id = 'p'"),
    ("purchase_by_profile", "UPDATE purchase SET revision = 2"),
    ("quantity_is_positive", "UPDATE purchase_line SET quantity = 0"),
    ("positions_count_from_zero", "UPDATE purchase_line SET position = -1"),
    ("purchase_line_pkey", "UPDATE purchase_line SET position = 0"),
    ("deltas_and_balances_match", "UPDATE log_event SET deltas = '{}'"),
]


@pytest.mark.parametrize(("constraint", "statement"), BROKEN)
async def test_the_database_refuses_what_must_never_be(
    people: People, database: PeopleDatabase, constraint: str, statement: str
) -> None:
    await people.do(UpsertProfile("ann"), buy(purchase_id="p"), buy(purchase_id="q"))
    with pytest.raises(psycopg.IntegrityError) as refused:
        database.rows(statement)
    assert refused.value.diag.constraint_name == constraint
