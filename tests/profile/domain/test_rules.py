"""What commands do to profiles, and what is refused: rules as tables, without a kernel, a database or a clock."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from meshkit.core.clock import CLOCK_SKEW_MAX
from meshkit.core.decision import Facts, Origin
from meshkit.core.errors import InvalidRequest, Kind, MeshError
from meshkit.core.money import Money
from profile_svc.domain.decide import Body, Event, Reply, WorkingSet, apply, decide
from profile_svc.domain.profiles import Profile, ProfileUpserted, Upserted, UpsertProfile
from profile_svc.domain.purchases import PurchaseLine, PurchaseRecorded, Recorded
from profile_svc.errors import CurrencyMismatch, IdTaken
from tests.profile.people import HOUR, LINES, T0, buy

INSTANT = timedelta(microseconds=1)
KNOWN = Profile("ann", ("gold", "vegan"), order_count=3, create_time=T0 - HOUR, revision=7)
REVISION = 9


def facts(revision: int = REVISION) -> Facts:
    return Facts(now=T0, revision=revision, origin=Origin("user:ann", "client:shop"))


def state(*profiles: Profile, purchase_ids: tuple[str, ...] = ()) -> WorkingSet:
    return WorkingSet({each.profile_id: each for each in profiles}, set(purchase_ids))


def done(before: WorkingSet, body: Body) -> tuple[WorkingSet, list[Event], Reply]:
    """The state after the command, its events and its reply; deciding alone must change nothing."""
    after = deepcopy(before)
    decision = decide(after, body, facts())
    assert after == before, "deciding changed something"
    apply(after, decision)
    return after, list(decision.events), decision.reply


UPSERTS = [
    # what is known, the tags given, the profile afterwards, whether it is new, whether anything is written
    (None, (), Profile("ann", (), 0, T0, 9), True, True),
    (None, ("b", "a"), Profile("ann", ("a", "b"), 0, T0, 9), True, True),
    (None, ("b", "a", "b"), Profile("ann", ("a", "b"), 0, T0, 9), True, True),
    (KNOWN, ("vegan", "gold"), KNOWN, False, False),
    (KNOWN, ("gold",), replace(KNOWN, tags=("gold",), revision=9), False, True),
    (KNOWN, (), replace(KNOWN, tags=(), revision=9), False, True),
    (KNOWN, ("Z", "a"), replace(KNOWN, tags=("Z", "a"), revision=9), False, True),  # by byte, like the database
]


@pytest.mark.parametrize(("known", "tags", "profile", "created", "written"), UPSERTS)
def test_an_upsert_replaces_the_tags_and_nothing_else(
    known: Profile | None, tags: tuple[str, ...], profile: Profile, *, created: bool, written: bool
) -> None:
    after, events, reply = done(state(known) if known else state(), UpsertProfile("ann", tags))
    assert events == ([ProfileUpserted(profile)] if written else [])
    assert reply == Upserted(profile, created, REVISION if written else REVISION - 1)
    assert (after.profiles, after.changed_profiles) == ({"ann": profile}, {"ann"} if written else set())


def test_a_purchase_is_counted_and_kept_as_it_was_told() -> None:
    after, events, reply = done(state(KNOWN), buy(purchase_id="p", channel="store", occur_time=T0 - HOUR))
    counted = replace(KNOWN, order_count=4, revision=REVISION)
    (event,) = events
    assert isinstance(event, PurchaseRecorded)
    assert event.profile == counted
    bought = event.purchase
    assert (bought.purchase_id, bought.profile_id, bought.order_reference, bought.channel) == (
        "p", "ann", "order-1", "store",
    )  # fmt: skip
    assert (bought.lines, bought.total) == (LINES, Money(2_999, "EUR"))
    assert (bought.occur_time, bought.record_time, bought.revision) == (T0 - HOUR, T0, REVISION)
    assert reply == Recorded("p", 4, REVISION)
    assert (after.profiles, after.changed_profiles) == ({"ann": counted}, {"ann"})
    assert (after.purchase_ids, after.new_purchases) == ({"p"}, [bought])


def test_a_purchase_makes_its_profile_known() -> None:
    after, events, reply = done(state(), buy(purchase_id="p"))
    assert [type(event) for event in events] == [ProfileUpserted, PurchaseRecorded]
    assert events[0].profile == Profile("ann", (), 0, T0, REVISION)
    assert after.profiles == {"ann": Profile("ann", (), 1, T0, REVISION)}
    assert reply == Recorded("p", 1, REVISION)


def test_a_purchase_without_a_time_was_bought_now() -> None:
    after, _, _ = done(state(KNOWN), buy())
    assert after.new_purchases[0].occur_time == T0


EUR, USD = Money(100, "EUR"), Money(100, "USD")
ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    # what is particular, the fields
    ("totals of lines that add up to less than the whole", {"lines": (PurchaseLine("A", 1, EUR),)}),
    ("totals of lines that add up to more", {"lines": (PurchaseLine("A", 1, Money(9_999, "EUR")),)}),
    ("no total on a line", {"lines": (PurchaseLine("A", 1),)}),
    ("a SKU in two lines", {"lines": (PurchaseLine("A", 1, EUR), PurchaseLine("A", 1, EUR))}),
    ("a line that is given away", {"lines": (PurchaseLine("A", 1, Money(0, "EUR")),)}),
    ("a purchase for nothing", {"total": Money(0, "EUR")}),
    ("bought at this instant", {"occur_time": T0}),
    ("bought before the profile was known", {"occur_time": T0 - 9_000 * HOUR}),
    ("a clock that is ahead by the most", {"occur_time": T0 + CLOCK_SKEW_MAX}),
]


@pytest.mark.parametrize("fields", [case[1] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
def test_a_fact_is_accepted_as_it_is_told(fields: dict[str, Any]) -> None:
    after, _, _ = done(state(KNOWN), buy(**fields))
    (bought,) = after.new_purchases
    assert {name: getattr(bought, name) for name in fields} == fields


REFUSED: list[tuple[str, dict[str, Any], type[MeshError]]] = [
    # in order of precedence: what is wrong, the fields, the refusal
    ("the future", {"occur_time": T0 + CLOCK_SKEW_MAX + INSTANT, "total": USD, "purchase_id": "old"}, InvalidRequest),
    ("another currency", {"total": USD, "purchase_id": "old"}, CurrencyMismatch),
    ("an id that is taken", {"purchase_id": "old"}, IdTaken),
]


@pytest.mark.parametrize(("fields", "kind"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
@pytest.mark.parametrize("known", [True, False])
def test_a_refusal_changes_nothing(fields: dict[str, Any], kind: type[MeshError], *, known: bool) -> None:
    before = state(KNOWN, purchase_ids=("old",)) if known else state(purchase_ids=("old",))
    after = deepcopy(before)
    with pytest.raises(kind):
        decide(after, buy(**fields), facts())
    assert after == before


def test_a_time_in_the_future_names_its_field() -> None:
    with pytest.raises(InvalidRequest) as refused:
        decide(state(), buy(occur_time=T0 + HOUR), facts())
    assert [each.field for each in refused.value.violations] == ["occur_time"]


def test_a_currency_that_differs_names_every_line() -> None:
    lines = (PurchaseLine("A", 1, EUR), PurchaseLine("B", 1, USD), PurchaseLine("C", 1), PurchaseLine("D", 1, USD))
    with pytest.raises(CurrencyMismatch) as refused:
        decide(state(), buy(lines=lines), facts())
    assert (refused.value.kind, refused.value.reason) == (Kind.INVALID, "CURRENCY_MISMATCH")
    assert [each.field for each in refused.value.violations] == ["lines[1].total.currency", "lines[3].total.currency"]
    assert dict(refused.value.metadata) == {"count": "2", "currency": "EUR", "line_currency": "USD"}


def test_an_id_that_is_taken_is_named() -> None:
    with pytest.raises(IdTaken) as refused:
        decide(state(KNOWN, purchase_ids=("old",)), buy(purchase_id="old"), facts())
    assert (refused.value.kind, refused.value.reason) == (Kind.REFUSED, "ID_TAKEN")
    assert dict(refused.value.metadata) == {"purchase_id": "old"}
