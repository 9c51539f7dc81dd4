"""Single turns of the saga that nobody would meet by chance, with the real services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from beautymesh.edge.v1 import checkout_pb2
from beautymesh.inventory.v1 import reservation_pb2
from beautymesh.profile.v1 import profile_pb2
from edge_gateway.sagas.metrics import RUNS, UNFINISHED
from edge_gateway.workers.takeover import ORPHANS_MAX
from meshkit.core.clock import CLOCK_SKEW_MAX
from meshkit.core.errors import Kind, MeshError, MissingScope, Unauthenticated, Unavailable
from meshkit.core.ids import new_id
from meshkit.core.principal import Principal
from tests.edge.sagas.here import Died, EdgeHere, Fate, edge_here, fate
from tests.edge.sagas.mesh import Mesh
from tests.edge.sagas.mesh import shop as shop_principal
from tests.edge.sagas.shop import (
    CANCELLED,
    CONFIRMED,
    EXPIRED,
    GIVEN_BACK,
    OPEN,
    REFUSED,
    Shop,
    cancel_of,
    cart,
    confirm_of,
    line,
)
from tests.edge.store.rows import EdgeDatabase


@pytest.fixture
async def edge(whole_mesh: Mesh, own_checkouts: EdgeDatabase) -> AsyncIterator[EdgeHere]:
    """An edge in this process."""
    async with edge_here(whole_mesh, own_checkouts.url) as edge:
        yield edge


class Refusing(Fate):
    """Every call of these names is refused with this error, unsent."""

    def __init__(self, error: type[MeshError], *names: str) -> None:
        super().__init__()
        self._error = error
        self._names = names

    def strikes(self, point: str) -> str:
        """Raises what the service would answer."""
        self.points.append(point)
        if point in self._names:
            raise self._error("as a service would say it")
        return ""


class Forgotten(MeshError):
    """What a service says to a repeat that it does not remember any more: the hold is not held."""

    kind = Kind.REFUSED
    reason = "WRONG_STATE"


async def under(own: Fate, work: object) -> object:
    """The work's result, or its error, while this fate hangs over it."""
    fate.set(own)
    try:
        return await work  # type: ignore[misc]  # a coroutine
    except MeshError as fault:
        return fault
    finally:
        fate.set(None)


async def taken_over(edge: EdgeHere, database: EdgeDatabase) -> int:
    """Leases end and one round of the takeover is made."""
    database.age(120, "lease_until")
    return await edge.scan()


# ── commits ──────────────────────────────────────────────────────────────────


async def test_the_happy_path_of_each_request_makes_two_commits(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    await shop.promotion(sku)
    counted = {}
    for name in ("create and confirm", "create and cancel"):
        own = Fate()
        fate.set(own)
        opened = await edge.create(cart(line(sku), profile_id=f"p-{new_id()}"))
        counted["create"] = own.points.count("commit")
        own.points.clear()
        if name.endswith("confirm"):
            await edge.confirm(confirm_of(opened))
            counted["confirm"] = own.points.count("commit")
        else:
            await edge.cancel(cancel_of(opened))
            counted["cancel"] = own.points.count("commit")
        fate.set(None)
    assert counted == {"create": 2, "confirm": 2, "cancel": 2}


async def test_a_repeat_of_what_is_done_calls_nobody_and_commits_nothing(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    asked = cart(line(sku))
    opened = await edge.create(asked)
    sold = confirm_of(opened)
    answer = await edge.confirm(sold)
    own = Fate()
    assert await under(own, edge.create(asked)) == answer
    assert await under(own, edge.confirm(sold)) == answer
    assert own.points == []


async def test_the_plan_is_committed_before_the_first_effect_and_names_every_id(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase
) -> None:
    sku = await shop.sku()
    await shop.promotion(sku)
    seen: list[checkout_pb2.Checkout] = []

    async def on_call(name: str) -> None:
        if name == "ReserveStock":
            ((plan,),) = own_checkouts.rows("SELECT plan FROM checkout")
            seen.append(checkout_pb2.Checkout.FromString(plan))

    own = Fate()
    own.on_call = on_call
    opened = await under(own, edge.create(cart(line(sku))))
    assert isinstance(opened, checkout_pb2.Checkout)
    for name in ("checkout_id", "reservation_id", "redemption_id", "lines", "totals", "expire_time"):
        assert getattr(seen[0], name) == getattr(opened, name)


# ── successors ───────────────────────────────────────────────────────────────


async def test_a_successor_that_turns_back_gives_back_what_its_predecessor_held_later_in_the_saga(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase
) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    made = await edge.create(cart(line(sku)))
    own_checkouts.rows("UPDATE checkout SET state = 'opening', work = 'open', lease_until = now()")
    await under(Refusing(Unavailable, "ReserveStock"), taken_over(edge, own_checkouts))
    for _ in range(3):
        await taken_over(edge, own_checkouts)
    gone = await edge.get(made.checkout_id)
    assert gone.state == REFUSED
    await shop.assert_books([gone], skus=[sku], promotions=[offer])


async def test_a_late_action_of_a_former_owner_is_barred_by_the_undo(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase
) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    own = Fate("late", 3)
    answer = await under(own, edge.create(cart(line(sku))))
    assert isinstance(answer, MeshError)
    assert own.points[3] == "HoldRedemption"
    await own.arrive_late()
    ((checkout_id,),) = own_checkouts.rows("SELECT checkout_id FROM checkout")
    gone = await edge.get(checkout_id)
    assert gone.state == REFUSED
    await shop.assert_books([gone], skus=[sku], promotions=[offer])


async def test_an_owner_that_was_paused_gives_up_and_answers_what_its_successor_made(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase
) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)

    async def on_call(name: str) -> None:
        if name == "ReserveStock":  # a pause, longer than the lease; somebody else finishes
            own_checkouts.age(120, "lease_until")
            fate.set(None)
            taken = asyncio.create_task(edge.takeover.scan())
            await taken
            while own_checkouts.rows("SELECT 1 FROM checkout WHERE work <> ''"):  # noqa: ASYNC110 — in another task
                await asyncio.sleep(0.01)

    own = Fate()
    own.on_call = on_call
    opened = await under(own, edge.create(cart(line(sku))))
    assert isinstance(opened, checkout_pb2.Checkout), opened
    assert (opened.state, own_checkouts.row(opened.checkout_id)["fence"]) == (OPEN, 2)
    await shop.assert_books([opened], skus=[sku], promotions=[offer])


# ── after the pivot ──────────────────────────────────────────────────────────


async def sold_but_not_recorded(shop: Shop, edge: EdgeHere, sku: str) -> checkout_pb2.Checkout:
    """A checkout past the pivot, whose purchase could not be recorded yet."""
    opened = await edge.create(cart(line(sku), profile_id=f"p-{new_id()}"))
    sold = await under(Refusing(Unavailable, "RecordPurchase"), edge.confirm(confirm_of(opened)))
    assert isinstance(sold, checkout_pb2.Checkout), sold
    assert sold.state == CONFIRMED
    return sold


async def test_what_is_sold_is_answered_so_before_the_purchase_is_recorded_and_recorded_later(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase
) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    sold = await sold_but_not_recorded(shop, edge, sku)
    assert await shop.purchases(sold.profile_id) == []
    assert await taken_over(edge, own_checkouts) == 1
    now = await edge.get(sold.checkout_id)
    await shop.assert_books([now], skus=[sku], promotions=[offer])
    assert await taken_over(edge, own_checkouts) == 0


@pytest.mark.parametrize("rpc", ["CommitRedemption", "CommitReservation"])
async def test_past_the_pivot_a_service_that_is_away_only_delays(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase, rpc: str
) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    sold = await sold_but_not_recorded(shop, edge, sku)
    await under(Refusing(Unavailable, rpc), taken_over(edge, own_checkouts))
    assert (await edge.get(sold.checkout_id)).state == CONFIRMED
    await taken_over(edge, own_checkouts)
    await shop.assert_books([await edge.get(sold.checkout_id)], skus=[sku], promotions=[offer])


@pytest.mark.parametrize("rpc", ["CommitRedemption", "CommitReservation", "RecordPurchase"])
@pytest.mark.parametrize("error", [MissingScope, Unauthenticated, Forgotten])
async def test_past_the_pivot_a_refusal_undoes_nothing(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase, rpc: str, error: type[MeshError]
) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    sold = await sold_but_not_recorded(shop, edge, sku)
    await under(Refusing(error, rpc), taken_over(edge, own_checkouts))
    assert (await edge.get(sold.checkout_id)).state == CONFIRMED
    await taken_over(edge, own_checkouts)
    await shop.assert_books([await edge.get(sold.checkout_id)], skus=[sku], promotions=[offer])


# ── refusals that are no decision ────────────────────────────────────────────


class NotServed(MeshError):
    """What a process of an older version says to a newer one's call."""

    kind = Kind.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"


NOT_HEARD = [Unauthenticated, MissingScope, NotServed]
"""Keys are being changed, or versions: the answer says nothing about what was asked, and tomorrow's is another."""


@pytest.mark.parametrize("rpc", ["CommitRedemption", "CommitReservation"])
@pytest.mark.parametrize("error", NOT_HEARD)
async def test_a_confirm_that_a_service_does_not_hear_waits_and_is_sold_in_the_end(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase, rpc: str, error: type[MeshError]
) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    opened = await edge.create(cart(line(sku), profile_id=f"p-{new_id()}"))
    answer = await under(Refusing(error, rpc), edge.confirm(confirm_of(opened)))
    assert isinstance(answer, Unavailable)
    assert (await edge.get(opened.checkout_id)).state == checkout_pb2.CHECKOUT_STATE_CONFIRMING
    await taken_over(edge, own_checkouts)
    now = await edge.get(opened.checkout_id)
    assert now.state == CONFIRMED
    await shop.assert_books([now], skus=[sku], promotions=[offer])


@pytest.mark.parametrize("error", [*NOT_HEARD, Forgotten])
async def test_a_successor_that_is_not_heard_undoes_nothing_that_is_sold(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase, error: type[MeshError]
) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    opened = await edge.create(cart(line(sku), profile_id=f"p-{new_id()}"))
    asked = confirm_of(opened)
    dies = Fate("dies after", 2)  # of commit, CommitRedemption, CommitReservation: the pivot was its last deed
    with pytest.raises(Died):
        await under(dies, edge.confirm(asked))
    assert dies.points[-1] == "CommitReservation"
    await under(Refusing(error, "CommitRedemption"), taken_over(edge, own_checkouts))
    for _ in range(2):
        await taken_over(edge, own_checkouts)
    now = await edge.get(opened.checkout_id)
    assert now.state == CONFIRMED
    assert (await edge.confirm(asked)).state == CONFIRMED
    await shop.assert_books([now], skus=[sku], promotions=[offer])


async def test_what_somebody_has_allocated_over_the_checkouts_head_is_sold(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    opened = await edge.create(cart(line(sku), profile_id=f"p-{new_id()}"))
    await shop.inventory.CommitReservation(
        reservation_pb2.CommitReservationRequest(
            request_id=new_id(), reservation_id=opened.reservation_id, order_reference="by hand"
        )
    )
    sold = await edge.confirm(confirm_of(opened))
    assert sold.state == CONFIRMED
    await shop.assert_books([sold], skus=[sku], promotions=[offer])


async def test_offers_that_were_never_heard_to_be_redeemed_are_not_left_held(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    opened = await edge.create(cart(line(sku), profile_id=f"p-{new_id()}"))
    answer = await under(Refusing(Forgotten, "CommitRedemption"), edge.confirm(confirm_of(opened)))
    assert isinstance(answer, MeshError)
    assert answer.reason == "WRONG_STATE"
    now = await edge.get(opened.checkout_id)
    assert (now.state, await shop.uses(offer)) == (CANCELLED, (0, 0))
    await shop.assert_books([now], skus=[sku], promotions=[offer])


async def test_a_purchase_that_the_client_has_recorded_itself_ends_the_work(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    opened = await edge.create(cart(line(sku), profile_id=f"p-{new_id()}"))
    await shop.profiles.RecordPurchase(
        profile_pb2.RecordPurchaseRequest(
            request_id=new_id(),
            profile_id=opened.profile_id,
            purchase_id=opened.checkout_id,
            order_reference="mine",
            lines=[profile_pb2.PurchaseLine(sku=sku, quantity=1, total=opened.totals.total)],
            total=opened.totals.total,
        )
    )
    assert (await edge.confirm(confirm_of(opened))).state == CONFIRMED
    assert await edge.scan() == 0
    assert len(await shop.purchases(opened.profile_id)) == 1


# ── slow services ────────────────────────────────────────────────────────────


async def test_an_owner_whose_services_are_slow_keeps_its_lease(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase
) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    opened = await edge.create(cart(line(sku), profile_id=f"p-{new_id()}"))
    edge.lease(3)

    async def slowly(_name: str) -> None:
        await asyncio.sleep(1.2)  # each of three calls: together longer than a lease

    own = Fate()
    own.on_call = slowly
    async with edge.working():
        sold = await under(own, edge.confirm(confirm_of(opened)))
    assert isinstance(sold, checkout_pb2.Checkout), sold
    assert sold.state == CONFIRMED
    assert own.points == ["commit", "CommitRedemption", "CommitReservation", "RecordPurchase", "commit"]
    assert own_checkouts.row(opened.checkout_id)["fence"] == 2, "somebody took it over"
    await shop.assert_books([sold], skus=[sku], promotions=[offer])


async def test_more_orphans_than_there_is_room_for_are_taken_one_after_the_other(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase
) -> None:
    sku = await shop.sku(200)
    count = ORPHANS_MAX + 20
    room = asyncio.Semaphore(10)

    async def orphan() -> None:
        async with room:
            with pytest.raises(Died):
                await under(Fate("dies before", 2), edge.create(cart(line(sku))))

    await asyncio.gather(*[asyncio.create_task(orphan()) for _ in range(count)])
    own_checkouts.age(120, "lease_until")
    edge.scan_every(3600)
    async with edge.working(), asyncio.timeout(120):
        while own_checkouts.rows("SELECT 1 FROM checkout WHERE work <> ''"):  # noqa: ASYNC110 — in other tasks
            await asyncio.sleep(0.05)
    assert own_checkouts.rows("SELECT state, count(*) FROM checkout GROUP BY state") == [("open", count)]


async def test_a_cart_that_lapses_while_it_is_held_says_so(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    await shop.promotion(sku)

    async def on_call(name: str) -> None:
        if name == "ReserveStock":
            await asyncio.sleep(1.1)

    own = Fate()
    own.on_call = on_call
    answer = await under(own, edge.create(cart(line(sku), ttl_seconds=1)))
    assert isinstance(answer, MeshError)
    assert answer.reason == "CHECKOUT_EXPIRED"
    await shop.assert_books([], skus=[sku])


async def test_a_hold_of_a_whole_day_may_be_asked_for_by_a_clock_that_is_ahead(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    await shop.promotion(sku)
    edge.clock_ahead(CLOCK_SKEW_MAX)
    opened = await edge.create(cart(line(sku), ttl_seconds=86_400))
    assert opened.state == OPEN


# ── undos that are refused ───────────────────────────────────────────────────


@pytest.mark.parametrize("error", [Unauthenticated, MissingScope])
async def test_an_undo_that_a_service_would_not_hear_is_not_done(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase, error: type[MeshError]
) -> None:
    # Keys are being changed, say: the answer says nothing about the hold, and tomorrow's will be another.
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    opened = await edge.create(cart(line(sku)))
    answer = await under(Refusing(error, "ReleaseReservation"), edge.cancel(cancel_of(opened)))
    now = await edge.get(opened.checkout_id)
    assert now.state != CANCELLED, answer
    for _ in range(3):
        await taken_over(edge, own_checkouts)
    now = await edge.get(opened.checkout_id)
    assert now.state == CANCELLED
    await shop.assert_books([now], skus=[sku], promotions=[offer])


WISHES: dict[str, Callable[[EdgeHere, checkout_pb2.Checkout, Principal], Awaitable[checkout_pb2.Checkout]]] = {
    "confirm": lambda edge, checkout, who: edge.confirm(confirm_of(checkout), who),
    "cancel": lambda edge, checkout, who: edge.cancel(cancel_of(checkout), who),
}


@pytest.mark.parametrize("wish", WISHES)
async def test_a_token_that_does_not_cover_the_location_moves_nothing(shop: Shop, edge: EdgeHere, wish: str) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    opened = await edge.create(cart(line(sku)))
    elsewhere = shop_principal(locations=frozenset({"PARIS"}))
    answer = await under(Fate(), WISHES[wish](edge, opened, elsewhere))
    assert isinstance(answer, MeshError)
    now = await edge.get(opened.checkout_id)
    await shop.assert_books([now], skus=[sku], promotions=[offer])
    assert (answer.reason, now.state) == ("OUTSIDE_GRANT", OPEN)


async def test_a_token_that_does_not_cover_it_sees_nothing_of_it(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    asked = cart(line(sku))
    opened = await edge.create(asked)
    sold = confirm_of(opened)
    await edge.confirm(sold)
    elsewhere = shop_principal(locations=frozenset({"PARIS"}))
    for look in (
        edge.get(opened.checkout_id, elsewhere), edge.create(asked, elsewhere), edge.confirm(sold, elsewhere),
    ):  # fmt: skip
        answer = await under(Fate(), look)
        assert isinstance(answer, MeshError), answer
        assert answer.reason == "OUTSIDE_GRANT"
    assert [each.checkout_id for each in await edge.list()] == [opened.checkout_id]
    assert await edge.list(elsewhere) == []
    assert len(await edge.list(shop_principal(locations=frozenset({"BERLIN"})))) == 1


async def test_a_cancel_beside_another_one_waits_for_it(shop: Shop, edge: EdgeHere) -> None:
    sku = await shop.sku()
    opened = await edge.create(cart(line(sku)))
    second: list[asyncio.Task[checkout_pb2.Checkout]] = []

    async def on_call(name: str) -> None:
        if not second:
            second.append(asyncio.create_task(edge.cancel(cancel_of(opened))))
            await asyncio.sleep(0.2)

    own = Fate()
    own.on_call = on_call
    first = await under(own, edge.cancel(cancel_of(opened)))
    assert isinstance(first, checkout_pb2.Checkout), first
    assert (first.state, (await second[0]).state) == (CANCELLED, CANCELLED)


@pytest.mark.parametrize("wish", WISHES)
async def test_a_token_that_does_not_cover_the_channel_moves_nothing(shop: Shop, edge: EdgeHere, wish: str) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    opened = await edge.create(cart(line(sku), profile_id=f"p-{new_id()}"))
    elsewhere = shop_principal(channels=frozenset({"store"}))
    answer = await under(Fate(), WISHES[wish](edge, opened, elsewhere))
    now = await edge.get(opened.checkout_id)
    await shop.assert_books([now], skus=[sku], promotions=[offer])
    assert isinstance(answer, MeshError)
    assert (answer.reason, now.state) == ("OUTSIDE_GRANT", OPEN)


# ── time ─────────────────────────────────────────────────────────────────────


async def until_lapsed(shop: Shop, checkout: checkout_pb2.Checkout) -> None:
    """Waits until inventory has given the hold back by itself."""
    async with asyncio.timeout(20):
        while await shop.reservation(checkout.reservation_id) == "HELD":  # noqa: ASYNC110 — in another process
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("at", ["commit", "CommitRedemption"])
async def test_a_hold_that_lapses_while_it_is_confirmed_is_expired_and_nothing_is_sold(
    shop: Shop, edge: EdgeHere, at: str
) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    opened = await edge.create(cart(line(sku), ttl_seconds=3, profile_id=f"p-{new_id()}"))
    own = Fate()

    async def on_call(name: str) -> None:
        if name == "CommitRedemption":
            await until_lapsed(shop, opened)

    if at == "CommitRedemption":
        own.on_call = on_call
        answer = await under(own, edge.confirm(confirm_of(opened)))
        assert "ReverseRedemption" in own.points
    else:
        await until_lapsed(shop, opened)
        answer = await under(own, edge.confirm(confirm_of(opened)))
        assert own.points == ["commit"], "nobody is called; the one statement moves no row"
    assert isinstance(answer, MeshError)
    assert answer.reason == "CHECKOUT_EXPIRED"
    now = await edge.get(opened.checkout_id)
    assert now.state == EXPIRED
    assert await shop.level(sku) == (100, 0, 0)
    assert await shop.redemption(opened.redemption_id) in GIVEN_BACK
    await shop.assert_books([now], skus=[sku], promotions=[offer])


async def test_a_confirm_that_died_in_time_and_is_taken_over_too_late_is_expired_for_all_its_repeats(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase
) -> None:
    sku = await shop.sku()
    offer = await shop.promotion(sku)
    opened = await edge.create(cart(line(sku), ttl_seconds=3))
    asked = confirm_of(opened)
    with pytest.raises(Died):
        await under(Fate("dies after", 0), edge.confirm(asked))
    await until_lapsed(shop, opened)
    assert (await edge.get(opened.checkout_id)).state == checkout_pb2.CHECKOUT_STATE_CONFIRMING
    assert await taken_over(edge, own_checkouts) == 1
    for _ in range(2):
        answer = await under(Fate(), edge.confirm(asked))
        assert isinstance(answer, MeshError)
        assert answer.reason == "CHECKOUT_EXPIRED"
    await shop.assert_books([await edge.get(opened.checkout_id)], skus=[sku], promotions=[offer])


# ── what operators see ───────────────────────────────────────────────────────


async def test_metrics_tell_how_runs_end_and_what_is_unfinished(
    shop: Shop, edge: EdgeHere, own_checkouts: EdgeDatabase
) -> None:
    def runs(work: str, outcome: str) -> float | None:
        return edge.metrics.registry.get_sample_value(RUNS.name, {"work": work, "outcome": outcome})

    def unfinished() -> float | None:
        return edge.metrics.registry.get_sample_value(UNFINISHED.name)

    sku = await shop.sku(1)
    sold = await sold_but_not_recorded(shop, edge, sku)
    refused = await under(Fate(), edge.create(cart(line(sku))))
    assert isinstance(refused, MeshError)
    assert refused.reason == "INSUFFICIENT_STOCK"
    own_checkouts.age(-60, "lease_until")
    assert await edge.scan() == 0
    assert (runs("open", "done"), runs("open", "undone"), runs("confirm", "left"), unfinished()) == (1, 1, 1, 1)
    assert await taken_over(edge, own_checkouts) == 1
    assert await edge.scan() == 0
    assert (runs("confirm", "done"), runs("confirm", "lost"), unfinished()) == (1, None, 0)
    assert (await edge.get(sold.checkout_id)).state == CONFIRMED
