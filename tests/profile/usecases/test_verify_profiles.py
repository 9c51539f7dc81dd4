"""The audit finds whatever is changed behind the log's back, and names it."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from meshkit.log.audit import Step
from profile_svc.domain.profiles import UpsertProfile
from profile_svc.usecases.verify_profiles import verify_profiles
from profile_svc.wire.messages import noun
from tests.profile.people import HOUR, T0, People, PeopleDatabase, buy, problems_of


@pytest.fixture
async def busy(people: People) -> People:
    """Revisions 1 to 5: ann has two purchases, bea one, cem none."""
    await people.do(
        UpsertProfile("ann", ("gold",)),
        buy(purchase_id="p", occur_time=T0 - HOUR),
        buy("bea", "q"),
        buy(purchase_id="r"),
        UpsertProfile("cem"),
    )
    return people


async def test_a_sound_log_has_no_problems(busy: People, engine: AsyncEngine) -> None:
    steps = [step async for step in verify_profiles(engine, message_of=noun)]
    assert [problem for step in steps for problem in step.problems] == []
    assert steps[-1] == Step(5, 5, 3 + 3 + 6, (), done=True)


async def test_an_empty_log_has_no_problems(database: PeopleDatabase, engine: AsyncEngine) -> None:
    assert [step async for step in verify_profiles(engine, message_of=noun)][-1] == Step(0, 0, 0, (), done=True)


BALANCE, REVISION = "an order count is the balance of its last event", "a profile has the revision of its last event"
NUMBER, RECORDED = "an order count is the number of purchases", "a purchase is recorded by the event of its revision"
KNOWN, LINES = "a purchase belongs to a profile", "a purchase has all its lines"
GAPS, ORPHAN = "lines count from zero without a gap", "a line belongs to a purchase"
CHAIN, SUMS, HEAD = "hashes chain", "balance is the balance before plus the delta", "the head holds the last hash"
PROFILE, PURCHASE = "a profile is what its last event says", "a purchase is what its event says"
LOST = "what the log has a balance of has a row"

MOVED = "WITH moved AS (UPDATE purchase_line SET purchase_id = 'z' WHERE purchase_id = 'q')"
SHORTENED = "WITH gone AS (DELETE FROM purchase_line WHERE purchase_id = 'q' AND position = 1)"
PLANTED = [
    # what is corrupted, by which statement, and the rules that are found broken, by subject
    ("an order count", "UPDATE profile SET order_count = 9 WHERE profile_id = 'ann'",
     {(BALANCE, "profile ann"), (NUMBER, "profile ann")}),
    ("a profile's revision", "UPDATE profile SET revision = 1 WHERE profile_id = 'ann'", {(REVISION, "profile ann")}),
    ("a deleted profile without purchases", "DELETE FROM profile WHERE profile_id = 'cem'", {(LOST, "profile cem")}),
    ("a deleted profile", "DELETE FROM profile WHERE profile_id = 'bea'",
     {(LOST, "profile bea"), (KNOWN, "purchase q")}),
    ("a profile that nobody upserted", "INSERT INTO profile VALUES ('dan', '{}', 0, now(), 1)",
     {(BALANCE, "profile dan"), (REVISION, "profile dan")}),
    ("a purchase that nobody recorded",
     "INSERT INTO purchase VALUES ('x', 'cem', 'o', 'default', 1, 'EUR', 1, now(), now(), 5)",
     {(NUMBER, "profile cem"), (RECORDED, "purchase x"), (LINES, "purchase x")}),
    ("a deleted purchase", "DELETE FROM purchase WHERE purchase_id = 'q'",
     {(NUMBER, "profile bea"), (ORPHAN, "purchase q line 0"), (ORPHAN, "purchase q line 1")}),
    ("a purchase of somebody else", "UPDATE purchase SET profile_id = 'cem' WHERE purchase_id = 'q'",
     {(NUMBER, "profile bea"), (NUMBER, "profile cem"), (RECORDED, "purchase q")}),
    ("tags", "UPDATE profile SET tags = '{vip}' WHERE profile_id = 'ann'", {(PROFILE, "profile ann")}),
    ("tags of a profile that has bought since", "UPDATE profile SET tags = '{vip}' WHERE profile_id = 'bea'",
     {(PROFILE, "profile bea")}),
    ("when a profile became known", "UPDATE profile SET create_time = 'epoch' WHERE profile_id = 'ann'",
     {(PROFILE, "profile ann")}),
    ("a total", "UPDATE purchase SET total_minor = 1 WHERE purchase_id = 'q'", {(PURCHASE, "purchase q")}),
    ("a currency", "UPDATE purchase SET currency = 'USD' WHERE purchase_id = 'q'", {(PURCHASE, "purchase q")}),
    ("an order", "UPDATE purchase SET order_reference = 'x' WHERE purchase_id = 'q'", {(PURCHASE, "purchase q")}),
    ("a channel", "UPDATE purchase SET channel = 'x' WHERE purchase_id = 'q'", {(PURCHASE, "purchase q")}),
    ("a line's SKU", "UPDATE purchase_line SET sku = 'x' WHERE purchase_id = 'q' AND position = 0",
     {(PURCHASE, "purchase q")}),
    ("a line's units", "UPDATE purchase_line SET quantity = 9 WHERE purchase_id = 'q' AND position = 0",
     {(PURCHASE, "purchase q")}),
    ("what a line cost", "UPDATE purchase_line SET total_minor = 1 WHERE purchase_id = 'q' AND position = 1",
     {(PURCHASE, "purchase q")}),
    ("a purchase under another id",
     f"{MOVED} UPDATE purchase SET purchase_id = 'z' WHERE purchase_id = 'q'",
     {(PURCHASE, "purchase z")}),
    ("a line that nobody misses",
     f"{SHORTENED} UPDATE purchase SET line_count = 1 WHERE purchase_id = 'q'", {(PURCHASE, "purchase q")}),
    ("a purchase's revision", "UPDATE purchase SET revision = 5 WHERE purchase_id = 'q'", {(RECORDED, "purchase q")}),
    ("a purchase's time", "UPDATE purchase SET occur_time = 'epoch' WHERE purchase_id = 'q'",
     {(PURCHASE, "purchase q")}),
    ("a purchase's number of lines", "UPDATE purchase SET line_count = 3 WHERE purchase_id = 'q'",
     {(LINES, "purchase q")}),
    ("a deleted line", "DELETE FROM purchase_line WHERE purchase_id = 'q' AND position = 1",
     {(LINES, "purchase q"), (PURCHASE, "purchase q")}),
    ("a line at another place", "UPDATE purchase_line SET position = 7 WHERE purchase_id = 'q' AND position = 1",
     {(GAPS, "purchase q")}),
    ("a payload", "UPDATE log_event SET payload = payload || '\\x00' WHERE revision = 2",
     {(CHAIN, "revision 2"), (PURCHASE, "purchase p")}),
    ("a balance", "UPDATE log_event SET balances = '{7}' WHERE revision = 5",
     {(SUMS, "revision 5 index 0 key 'profile\\x1fcem'"), (BALANCE, "profile cem")}),
    ("the head's hash", "UPDATE log_head SET hash = sha256('')", {(HEAD, "revision 5")}),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "expected"), [case[1:] for case in PLANTED], ids=[case[0] for case in PLANTED])
async def test_what_is_changed_behind_the_logs_back_is_found(
    busy: People, database: PeopleDatabase, engine: AsyncEngine, statement: str, expected: set[tuple[str, str]]
) -> None:
    database.rows(statement)
    assert {(problem.rule, problem.subject) for problem in await problems_of(engine)} == expected


async def test_a_problem_says_what_was_expected_and_what_was_found(
    busy: People, database: PeopleDatabase, engine: AsyncEngine
) -> None:
    database.rows("UPDATE profile SET order_count = 9 WHERE profile_id = 'ann'")
    found = {each.rule: (each.expected, each.actual) for each in await problems_of(engine)}
    assert found == {BALANCE: ("2", "9"), NUMBER: ("2", "9")}


async def test_the_audit_may_run_beside_any_load(busy: People, engine: AsyncEngine) -> None:
    problems: list[object] = []
    async for step in verify_profiles(engine, message_of=noun):
        problems.extend(step.problems)
        await busy.do(buy(), buy("dan"))
    assert problems == []
