"""The ledger check finds whatever is changed behind the log's back, and names it."""
# ruff: noqa: E501 — tables, one line a case

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory_svc.domain.movements import Adjust, Receive
from inventory_svc.domain.reservations import Commit, Release, Reserve, Ship
from inventory_svc.usecases.verify_ledger import verify_ledger
from meshkit.core.clock import ManualClock
from meshkit.log.audit import Step
from tests.inventory.stock import HOUR, A, B, C, D, Stock, StockDatabase, ledger_problems


@pytest.fixture
async def busy(stock: Stock, clock: ManualClock) -> Stock:
    """A log of every kind of event: revisions 1 to 13."""
    await stock.do(
        Reserve("held", ((A, 3), (C, 1)), 3 * HOUR),
        Reserve("done", ((A, 2), (B, 5)), HOUR),
        Commit("done", "order-1"),
        Ship("done", ((B, 2),)),
        Reserve("free", ((D, 10),), HOUR),
        Release("free"),
        Reserve("late", ((D, 10),), HOUR),
        Adjust(((A, -1),), "damaged"),
    )
    clock.advance(HOUR)
    await stock.do(Receive(((D, 1),)))
    return stock


async def test_a_sound_ledger_has_no_problems(busy: Stock, engine: AsyncEngine) -> None:
    steps = [step async for step in verify_ledger(engine)]
    assert [problem for step in steps for problem in step.problems] == []
    assert steps[-1] == Step(13, 13, 4 + 2 + 4 + 6, (), done=True)


async def test_an_empty_ledger_has_no_problems(database: StockDatabase, engine: AsyncEngine) -> None:
    assert [step async for step in verify_ledger(engine)][-1] == Step(0, 0, 0, (), done=True)


LEVEL = "a level is the balance of its last event"
HELD = "reserved is the sum of the held lines"
PROMISED = "allocated is the sum of the promised lines"
SELLABLE = "a sellable quantity is the balance of its last event"
AVAILABLE = "sellable is the sum of what is available"
LINES = "lines are held or promised as their reservation's state says"
CHAIN, CONTIGUOUS, HEAD = "hashes chain", "revisions are contiguous", "the head holds the last hash"
BALANCE, REACHES = "balance is the balance before plus the delta", "the log reaches its head"
A_LEVEL, A_EVENT = "level LIP-RED at BERLIN", "key 'level\\x1fLIP-RED\\x1fBERLIN\\x1f'"

PLANTED = [
    # what is corrupted, by which statement, the rule that must be named, and its subject
    ("on_hand", "UPDATE stock_level SET on_hand = on_hand + 1 WHERE sku = 'LIP-RED' AND location = 'BERLIN'",
     LEVEL, A_LEVEL),
    ("a level's reserved", "UPDATE stock_level SET reserved = 2 WHERE sku = 'LIP-RED' AND location = 'BERLIN'",
     HELD, A_LEVEL),
    ("a level's allocated", "UPDATE stock_level SET allocated = 0 WHERE sku = 'LIP-RED' AND location = 'BERLIN'",
     PROMISED, A_LEVEL),
    ("a level's revision", "UPDATE stock_level SET revision = 1 WHERE sku = 'LIP-RED' AND location = 'BERLIN'",
     "", A_LEVEL),
    ("a deleted level", "DELETE FROM stock_level WHERE sku = 'LIP-RED' AND location = 'BERLIN'", "", A_LEVEL),
    ("a level that nobody received",
     "INSERT INTO stock_level VALUES ('LIP-RED', 'BERLIN', 'LOT-X', 5, 0, 0, 0, 1)", LEVEL, f"{A_LEVEL} lot LOT-X"),
    ("a sellable quantity", "UPDATE sellable SET units = 99 WHERE sku = 'MASCARA'", SELLABLE, "sellable MASCARA in default"),
    ("a sellable quantity against levels", "UPDATE sellable SET units = 99 WHERE sku = 'MASCARA'",
     AVAILABLE, "sellable MASCARA in default"),
    ("a sellable quantity's revision", "UPDATE sellable SET revision = 1 WHERE sku = 'MASCARA'",
     "", "sellable MASCARA in default"),
    ("a deleted sellable quantity", "DELETE FROM sellable WHERE sku = 'MASCARA'", "", "sellable MASCARA in default"),
    ("a payload", "UPDATE log_event SET payload = payload || '\\x00' WHERE revision = 5 AND index = 0",
     CHAIN, "revision 5"),
    ("a balance", "UPDATE log_event SET balances[1] = 77 WHERE revision = 5 AND index = 0",
     BALANCE, f"revision 5 index 0 {A_EVENT}"),
    ("a delta", "UPDATE log_event SET deltas[3] = 77 WHERE revision = 5 AND index = 0",
     BALANCE, f"revision 5 index 0 {A_EVENT}"),
    ("a revision's hash", "UPDATE log_event SET hash = sha256('') WHERE revision = 7 AND index = 0", CHAIN, "revision 7"),
    ("the head's hash", "UPDATE log_head SET hash = sha256('')", HEAD, "revision 13"),
    ("the head's revision, too high", "UPDATE log_head SET revision = 20", REACHES, "revision 14"),
    ("the head's revision, too low", "UPDATE log_head SET revision = 12", HEAD, "revision 12"),
    ("a deleted revision", "DELETE FROM log_event WHERE revision = 6", CONTIGUOUS, "revision 7"),
    ("the deleted first revision", "DELETE FROM log_event WHERE revision = 1", CONTIGUOUS, "revision 2"),
    ("the deleted last revision", "DELETE FROM log_event WHERE revision = 13", REACHES, "revision 13"),
    ("the whole log deleted", "DELETE FROM log_event", REACHES, "revision 1"),
    ("a record time", "UPDATE log_event SET record_time = 'epoch' WHERE revision = 8", "record time never falls",
     "revision 8"),
    ("a held line's quantity", "UPDATE reservation_line SET quantity = 4 WHERE reservation_id = 'held' AND sku = 'LIP-RED'",
     HELD, A_LEVEL),
    ("a promised line's quantity",
     "UPDATE reservation_line SET quantity = 4 WHERE reservation_id = 'done' AND location = 'BERLIN'", PROMISED, A_LEVEL),
    ("a promised line's shipped units",
     "UPDATE reservation_line SET shipped = 1 WHERE reservation_id = 'done' AND location = 'BERLIN'", PROMISED, A_LEVEL),
    ("a deleted line", "DELETE FROM reservation_line WHERE reservation_id = 'held' AND sku = 'LIP-RED'", HELD, A_LEVEL),
    ("a line that is not held any more", "UPDATE reservation_line SET held_until = NULL WHERE reservation_id = 'held'",
     LINES, "reservation held (held)"),
    ("a line that is held for longer", "UPDATE reservation_line SET held_until = '2027-01-01' WHERE reservation_id = 'held'",
     LINES, "reservation held (held)"),
    ("a hold that lasts for longer", "UPDATE reservation SET expire_time = '2027-01-01' WHERE reservation_id = 'held'",
     LINES, "reservation held (held)"),
    ("a reservation's state", "UPDATE reservation SET state = 'released' WHERE reservation_id = 'held'",
     LINES, "reservation held (released)"),
    ("a reservation without lines", "DELETE FROM reservation_line WHERE reservation_id = 'free'",
     "a reservation has lines", "reservation free (released)"),
    ("lines without a reservation", "DELETE FROM reservation WHERE reservation_id = 'held'", "", "reservation held"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "rule", "subject"), [case[1:] for case in PLANTED], ids=[c[0] for c in PLANTED])
async def test_what_is_changed_behind_the_logs_back_is_found(  # noqa: PLR0917 — fixtures and the columns of the table
    busy: Stock, database: StockDatabase, engine: AsyncEngine, statement: str, rule: str, subject: str
) -> None:
    database.rows(statement)
    found = [(problem.rule, problem.subject) for problem in await ledger_problems(engine)]
    if rule:
        assert (rule, subject) in found
    else:
        assert [each for _, each in found if each.startswith(subject)], found


async def test_a_problem_says_what_was_expected_and_what_was_found(
    busy: Stock, database: StockDatabase, engine: AsyncEngine
) -> None:
    database.rows("UPDATE stock_level SET on_hand = 99 WHERE sku = 'LIP-RED' AND location = 'BERLIN'")
    (problem,) = [each for each in await ledger_problems(engine) if each.rule == LEVEL]
    assert (problem.subject, problem.expected, problem.actual) == (A_LEVEL, "[9, 0, 3, 2]", "[99, 0, 3, 2]")


async def test_the_check_may_run_beside_any_load(busy: Stock, engine: AsyncEngine) -> None:
    problems: list[object] = []
    async for step in verify_ledger(engine):
        problems.extend(step.problems)
        await busy.do(Receive(((A, 1),)), Adjust(((A, -1),), "lost"))
    assert problems == []
