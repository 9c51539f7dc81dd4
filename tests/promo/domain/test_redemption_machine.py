"""Any sequence of redemptions against a model of ten lines: the same states, the same counts, never past a limit."""

from __future__ import annotations

from collections import Counter as Tally
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshkit.core.decision import Facts, Origin
from meshkit.core.errors import MeshError
from promo_svc.domain.campaigns import CreateCampaign, CreateCoupons, CreatePromotion, Limit
from promo_svc.domain.counters import Counts, keys_of
from promo_svc.domain.decide import Body, WorkingSet, apply, decide, lapsed
from promo_svc.domain.redemptions import Commit, Expire, Release, Reverse
from tests.promo.shop import HOUR, T0, hold, promotion

IDS, PROFILES = st.sampled_from("abcdef"), st.sampled_from(["", "ann", "ben"])
OFFERS = st.lists(st.sampled_from(["few", "once", "code/ONE"]), min_size=1, unique=True)
GIVEN_BACK = {"released", "expired", "reversed"}


class Redemptions(RuleBasedStateMachine):
    """`states` is the model: each redemption's state, profile, offers and expiry."""

    @initialize()
    def make_offers(self) -> None:
        self.state, self.now, self.revision = WorkingSet(), T0, 0
        self.states: dict[str, tuple[str, str, list[str]]] = {}
        self.expiries: dict[str, object] = {}
        self.do(CreateCampaign("spring", "Spring"))
        self.do(CreatePromotion(promotion("few", limit=(3, 0))))
        self.do(CreatePromotion(promotion("once", limit=(0, 1))))
        self.do(CreatePromotion(promotion("code", needs_coupon=True)))
        self.do(CreateCoupons("spring", "code", ("ONE",), Limit(2, 0)))

    def do(self, body: Body) -> str:
        """Decides and applies; the refusal's reason, or nothing."""
        facts = Facts(self.now, self.revision + 1, Origin("user:ann", "client:shop"))
        try:
            decision = decide(self.state, body, facts)
        except MeshError as refused:
            return refused.reason
        if decision.events:
            apply(self.state, decision, facts)
            self.revision += 1
        return ""

    def used(self, offer: str, profile_id: str | None = None) -> int:
        """How often an offer counts, for all or for one profile."""
        live = [each for each in self.states.values() if each[0] not in GIVEN_BACK and offer in each[2]]
        return sum(profile_id is None or each[1] == profile_id for each in live)

    @rule(key=IDS, offers=OFFERS, profile_id=PROFILES, hours=st.integers(1, 3))
    def hold(self, key: str, offers: list[str], profile_id: str, hours: int) -> None:
        full = (
            ("few" in offers and self.used("few") == 3)
            or ("code/ONE" in offers and self.used("code/ONE") == 2)
            or ("once" in offers and (not profile_id or self.used("once", profile_id) == 1))
        )
        reason = self.do(hold(key, *offers, profile_id=profile_id, ttl=hours * HOUR))
        assert reason == ("ID_TAKEN" if key in self.states else "LIMIT_REACHED" if full else "")
        if not reason:
            self.states[key] = ("held", profile_id, offers)
            self.expiries[key] = self.now + hours * HOUR

    @rule(key=IDS)
    def commit(self, key: str) -> None:
        was = self.states.get(key, ("",))[0]
        wanted = {"": "UNKNOWN_REDEMPTION", "held": "", "expired": "REDEMPTION_EXPIRED"}.get(was, "WRONG_STATE")
        assert self.do(Commit(key, "order")) == wanted
        self.becomes(key, "" if wanted else "committed")

    @rule(key=IDS, in_saga=st.booleans())
    def release(self, key: str, in_saga: bool) -> None:  # noqa: FBT001 — a strategy's name
        was = self.states.get(key, ("",))[0]
        wanted = {"": "" if in_saga else "UNKNOWN_REDEMPTION", "committed": "WRONG_STATE"}.get(was, "")
        assert self.do(Release(key, in_saga=in_saga)) == wanted
        self.becomes(key, "released" if was == "held" else "")

    @rule(key=IDS, in_saga=st.booleans())
    def reverse(self, key: str, in_saga: bool) -> None:  # noqa: FBT001 — a strategy's name
        was = self.states.get(key, ("",))[0]
        refused = "" if in_saga else "UNKNOWN_REDEMPTION" if not was else "WRONG_STATE"
        assert self.do(Reverse(key, in_saga=in_saga)) == ("" if was in {"committed", "reversed"} else refused)
        self.becomes(key, {"committed": "reversed", "held": "released" if in_saga else ""}.get(was, ""))

    @rule(hours=st.integers(1, 2))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)
        for held in lapsed(self.state, self.now):
            assert self.do(Expire(held.redemption_id)) == ""
        for key, expire_time in self.expiries.items():
            if self.states[key][0] == "held" and expire_time <= self.now:  # type: ignore[operator]  # a datetime
                self.becomes(key, "expired")

    def becomes(self, key: str, state: str) -> None:
        """The model's next state; empty for no change."""
        if state:
            self.states[key] = (state, *self.states[key][1:])

    @invariant()
    def states_and_counters_are_the_models(self) -> None:
        assert {key: each.state.value for key, each in self.state.redemptions.items()} == {
            key: each[0] for key, each in self.states.items()
        }
        held, committed = (
            Tally(
                counter
                for each in self.state.redemptions.values()
                if each.state.value == state
                for offer in each.offers
                for counter in keys_of(offer, each.profile_id)
            )
            for state in ("held", "committed")
        )
        found = {key: counter.counts for key, counter in self.state.counters.items()}
        assert found == {key: Counts(held[key], committed[key]) for key in found}
        assert held.keys() | committed.keys() <= found.keys()


Redemptions.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRedemptions = Redemptions.TestCase
