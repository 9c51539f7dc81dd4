"""The schema: up from empty, up twice, and constraints that hold whatever the code does."""

from __future__ import annotations

import psycopg
import pytest

from meshkit.db.migrations import Migrated, migrate
from promo_svc.store.migrations import MIGRATIONS
from tests.embedded import Embedded
from tests.promo.shop import PromoDatabase


def test_migrations_run_from_empty_and_twice(embedded: Embedded) -> None:
    url = embedded.make_database("promo")
    assert migrate(url, MIGRATIONS) == Migrated(None, "0001")
    assert migrate(url, MIGRATIONS) == Migrated("0001", "0001")
    embedded.drop_database(url)


REDEMPTION = "INSERT INTO redemption VALUES ('r', 'c', '', '{}', '{}', '2026-01-01', '{}', 1)"
REFUSED = [
    ("held_is_not_negative", "INSERT INTO counter VALUES ('p', '', '', -1, 1, 0, 1)"),
    ("committed_is_not_negative", "INSERT INTO counter VALUES ('p', '', '', 1, -1, 0, 1)"),
    ("redemptions_keep_to_their_limit", "INSERT INTO counter VALUES ('p', '', '', 2, 2, 3, 1)"),
    ("price_is_not_negative", "INSERT INTO price VALUES ('s', '', 'USD', '2026-01-01', -1, true, 1)"),
    ("a_code_is_in_capitals", "INSERT INTO coupon VALUES ('code', 'p', 'c', 0, 0, 1)"),
    ("state_is_known", REDEMPTION.format("gone", "", "2026-01-02")),
    ("what_was_committed_has_an_order", REDEMPTION.format("committed", "", "2026-01-02")),
    ("what_was_committed_has_an_order", REDEMPTION.format("held", "order", "2026-01-02")),
    ("a_hold_lasts", REDEMPTION.format("held", "", "2026-01-01")),
    ("what_is_held_is_not_committed", "INSERT INTO redemption_offer VALUES ('r', 'p', '', '', 0, '2026-01-01', true)"),
]


@pytest.mark.parametrize(("constraint", "statement"), REFUSED)
def test_what_must_never_be_stored_cannot_be(database: PromoDatabase, constraint: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        database.rows(statement)
    assert refused.value.diag.constraint_name == constraint
