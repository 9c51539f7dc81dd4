"""The last line of defence: what the database refuses whatever the code does, each rule by its name."""

from __future__ import annotations

import psycopg
import pytest

from inventory_svc.domain.reservations import Commit, Reserve
from tests.inventory.stock import HOUR, A, B, Stock, StockDatabase

LEVEL = "UPDATE stock_level SET {} WHERE sku = 'LIP-RED' AND location = 'BERLIN'"

BROKEN = [
    ("on_hand_is_not_negative", LEVEL.format("on_hand = -1")),
    ("unavailable_is_not_negative", LEVEL.format("unavailable = -1")),
    ("reserved_is_not_negative", LEVEL.format("reserved = -1")),
    ("allocated_is_not_negative", LEVEL.format("allocated = -1")),
    ("sellable_is_not_negative", "UPDATE sellable SET units = -1"),
    ("state_is_known", "UPDATE reservation SET state = 'lost' WHERE reservation_id = 'held'"),
    (
        "only_a_committed_reservation_has_an_order",
        "UPDATE reservation SET order_reference = 'o' WHERE reservation_id = 'held'",
    ),
    (
        "only_a_committed_reservation_has_an_order",
        "UPDATE reservation SET order_reference = '' WHERE reservation_id = 'done'",
    ),
    ("a_hold_lasts", "UPDATE reservation SET expire_time = create_time WHERE reservation_id = 'held'"),
    ("quantity_is_positive", "UPDATE reservation_line SET quantity = 0 WHERE reservation_id = 'held'"),
    (
        "shipped_is_between_zero_and_quantity",
        "UPDATE reservation_line SET shipped = quantity + 1 WHERE reservation_id = 'done'",
    ),
    ("shipped_is_between_zero_and_quantity", "UPDATE reservation_line SET shipped = -1 WHERE reservation_id = 'done'"),
    ("a_held_line_has_nothing_promised", "UPDATE reservation_line SET promised = true WHERE reservation_id = 'held'"),
    ("a_reservation_never_oversells", "UPDATE log_event SET balances[3] = 99 WHERE kind = 'stock_reserved'"),
    ("a_log_has_one_head", "INSERT INTO log_head (only_row) VALUES (false)"),
    ("log_head_pkey", "INSERT INTO log_head DEFAULT VALUES"),
    ("revision_is_not_negative", "UPDATE log_head SET revision = -1"),
    ("revision_counts_from_one", "UPDATE log_event SET revision = 0 WHERE revision = 1 AND index = 0"),
    ("index_counts_from_zero", "UPDATE log_event SET index = -1, hash = NULL WHERE revision = 1 AND index = 0"),
    ("deltas_and_balances_match", "UPDATE log_event SET deltas = '{}' WHERE kind = 'stock_received'"),
    (
        "the_first_event_of_a_revision_carries_its_hash",
        "UPDATE log_event SET hash = NULL WHERE revision = 1 AND index = 0",
    ),
    ("log_event_pkey", "UPDATE log_event SET index = 0, hash = '' WHERE revision = 1 AND index = 1"),
    ("stock_level_sku_fkey", "INSERT INTO stock_level VALUES ('GHOST', 'BERLIN', '', 1, 0, 0, 0, 1)"),
    ("stock_level_location_fkey", "INSERT INTO stock_level VALUES ('LIP-RED', 'NOWHERE', '', 1, 0, 0, 0, 1)"),
]


@pytest.mark.parametrize(("constraint", "statement"), BROKEN)
async def test_the_database_refuses_what_must_never_be(
    stock: Stock, database: StockDatabase, constraint: str, statement: str
) -> None:
    await stock.do(Reserve("held", ((A, 1),), HOUR), Reserve("done", ((B, 1),), HOUR), Commit("done", "order-1"))
    with pytest.raises(psycopg.IntegrityError) as refused:
        database.rows(statement)
    assert refused.value.diag.constraint_name == constraint
