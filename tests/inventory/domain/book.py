"""A stock book in memory: decides and applies like a batch does, without a kernel, a database or a clock."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta

from inventory_svc.domain.decide import Body, Reply, StockDecision, WorkingSet, apply, decide, lapsed
from inventory_svc.domain.reservations import Expire
from inventory_svc.domain.stock import DEFAULT_CHANNEL, EMPTY, Counters, LevelKey
from meshkit.core.decision import Facts, Origin
from meshkit.core.errors import MeshError

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
A = LevelKey("LIP-RED", "BERLIN", "")
B = LevelKey("LIP-RED", "PARIS", "")
C = LevelKey("MASCARA", "BERLIN", "")
CLIENT, STRANGER = "client:shop", "client:stranger"


class Book:
    """Knows LIP-RED and MASCARA in BERLIN and PARIS; every level is empty. `now` is moved by the test."""

    def __init__(self) -> None:
        self.state = WorkingSet()
        self.state.catalogue.skus |= {A.sku, C.sku}
        self.state.catalogue.locations |= {A.location, B.location}
        self.now = T0
        self.revision = 0
        self.last: StockDecision | None = None

    def do(self, body: Body, *, client: str = CLIENT) -> Reply:
        """Expires what has lapsed, as a batch does first, then decides and applies the command."""
        for held in lapsed(self.state, self.now):
            self._do(Expire(held.reservation_id), "service:inventory")
        return self._do(body, client)

    def _do(self, body: Body, client: str) -> Reply:
        facts = Facts(now=self.now, revision=self.revision + 1, origin=Origin("user:ann", client))
        decision = decide(self.state, body, facts)
        self.last = decision
        if decision.events:
            apply(self.state, decision, facts)
            self.revision += 1
        return decision.reply

    def refusal(self, body: Body, *, client: str = CLIENT) -> MeshError:
        """The refusal of a command that must be refused and must change nothing."""
        for held in lapsed(self.state, self.now):
            self._do(Expire(held.reservation_id), "service:inventory")
        before, revision = deepcopy(self.state), self.revision
        try:
            self._do(body, client)
        except MeshError as refused:
            assert self.state == before, "a refused command changed something"
            assert self.revision == revision
            return refused
        raise AssertionError(f"{body} was not refused")

    def wait(self, seconds: float) -> None:
        """Moves time on."""
        self.now += timedelta(seconds=seconds)

    def counters(self, key: LevelKey) -> Counters:
        """on_hand, unavailable, reserved, allocated."""
        level = self.state.levels.get(key)
        return level.counters if level else EMPTY

    def sellable(self, sku: str) -> int:
        """What the default channel may sell."""
        entry = self.state.sellable.get((sku, DEFAULT_CHANNEL))
        return entry.units if entry else 0

    def state_of(self, reservation_id: str) -> str:
        """The state of a reservation."""
        return self.state.reservations[reservation_id].state.value

    def assert_invariants(self) -> None:
        """I1 to I5 and I7, from the levels and reservations alone."""
        for key, level in self.state.levels.items():
            assert min(level.counters) >= 0, f"I1 {key} {level}"
            lines = [(r, line) for r in self.state.reservations.values() for line in r.lines if line.key == key]
            held = sum(line.quantity for r, line in lines if r.state.value == "held")
            promised = sum(line.quantity - line.shipped for r, line in lines if r.state.value == "committed")
            assert level.counters.reserved == held, f"I3 {key} {level} {held}"
            assert level.counters.allocated == promised, f"I4 {key} {level} {promised}"
            assert all(0 <= line.shipped <= line.quantity for _, line in lines), f"I7 {lines}"
        for sku in {key.sku for key in self.state.levels}:
            available = [level.counters.available for key, level in self.state.levels.items() if key.sku == sku]
            assert self.sellable(sku) == sum(max(0, units) for units in available), f"I5 {sku}"


def counters(on_hand: int, unavailable: int, reserved: int, allocated: int) -> Counters:
    """Shorter than the class in tables."""
    return Counters(on_hand, unavailable, reserved, allocated)
