"""The pure core against a model of a few lines, and whole lives of a saga with owners that crash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_gateway.sagas.core import Run, Shape, Turn, Verdict
from edge_gateway.sagas.steps import CONFIRM, OPEN

D, R, U, S = Verdict.DONE, Verdict.REFUSED, Verdict.UNKNOWN, Verdict.STANDS
STEPS_MAX = 5


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Any saga that may be written down."""
    steps = draw(st.integers(1, STEPS_MAX))
    pivot = draw(st.integers(0, steps - 1))
    undoable = [True] * pivot + draw(st.lists(st.booleans(), min_size=steps - pivot, max_size=steps - pivot))
    # A successor that hears nothing from the first step cannot know how far the saga had come.
    may_turn_back = pivot == steps - 1 and undoable[pivot]
    return Shape(undoable, pivot, turns_back_on_unknown=may_turn_back and draw(st.booleans()))


def model(shape: Shape, verdicts: Iterator[Verdict]) -> Iterator[str]:
    """What one run forwards does, step by step, and how it ends; written down without any state machine."""
    for step in range(len(shape.undoable)):
        verdict = next(verdicts)
        yield f"do {step}"
        if verdict is D:
            continue
        if step > shape.pivot or (verdict is U and not shape.turns_back_on_unknown):
            yield "stopped"
            return
        yield "turned"
        yield from model_backwards(shape, verdicts)
        return
    yield "completed"


def model_backwards(shape: Shape, verdicts: Iterator[Verdict]) -> Iterator[str]:
    """The same backwards: from the pivot, whatever was done."""
    for step in reversed([each for each in range(shape.pivot + 1) if shape.undoable[each]]):
        verdict = next(verdicts)
        yield f"undo {step}"
        if verdict is not D:
            yield "stopped"
            return
    yield "undone"


def played(run: Run, verdicts: Iterator[Verdict]) -> Iterator[str]:
    """What the core does with the same verdicts."""
    while not run.over:
        verdict = next(verdicts)
        yield f"{'undo' if run.backwards else 'do'} {run.at}"
        turn = run.take(verdict)
        if turn is Turn.STOP:
            yield "stopped"
            return
        if turn is not Turn.GO_ON:
            yield "turned"
    yield "undone" if run.backwards else "completed"


VERDICTS = st.lists(st.sampled_from([D, R, U]), min_size=2 * STEPS_MAX, max_size=2 * STEPS_MAX)


@given(shapes(), VERDICTS)
def test_a_run_does_what_the_model_does(shape: Shape, verdicts: list[Verdict]) -> None:
    assert list(played(Run(shape), iter(verdicts))) == list(model(shape, iter(verdicts)))


@given(shapes(), VERDICTS)
def test_whoever_takes_over_an_undo_undoes_every_step_up_to_the_pivot(shape: Shape, verdicts: list[Verdict]) -> None:
    expected = list(model_backwards(shape, iter(verdicts)))
    assert list(played(Run(shape, backwards=True), iter(verdicts))) == expected


@given(shapes(), VERDICTS)
def test_whoever_takes_over_past_the_pivot_does_the_steps_after_it_and_nothing_else(
    shape: Shape, verdicts: list[Verdict]
) -> None:
    expected = []
    for step, verdict in zip(range(shape.pivot + 1, len(shape.undoable)), verdicts, strict=False):
        expected.append(f"do {step}")
        if verdict is not D:
            expected.append("stopped")
            break
    else:
        expected.append("completed")
    assert list(played(Run(shape, past_pivot=True), iter(verdicts))) == expected


@given(shapes(), VERDICTS)
def test_no_step_after_the_pivot_is_ever_undone(shape: Shape, verdicts: list[Verdict]) -> None:
    log = list(played(Run(shape), iter(verdicts)))
    assert not [line for line in log if line in {f"undo {step}" for step in range(shape.pivot + 1, STEPS_MAX)}]
    if f"do {shape.pivot + 1}" in log:
        assert "turned" not in log


@given(shapes(), VERDICTS)
def test_nothing_is_done_or_undone_twice_by_one_owner(shape: Shape, verdicts: list[Verdict]) -> None:
    log = list(played(Run(shape), iter(verdicts)))
    assert len(log) == len(set(log))


@given(shapes(), VERDICTS)
def test_a_pivot_that_stands_turns_the_saga_forward_and_nothing_before_it_is_undone(
    shape: Shape, verdicts: list[Verdict]
) -> None:
    if not shape.undoable[shape.pivot]:
        return
    run = Run(shape, backwards=True)
    assert (run.take(S), run.backwards, run.at) == (Turn.TURN_FORWARD, False, shape.pivot + 1)
    assert list(played(run, iter(verdicts))) == list(played(Run(shape, past_pivot=True), iter(verdicts)))


@pytest.mark.parametrize(
    ("undoable", "pivot"),
    [([], 0), ([True], 1), ([True], -1), ([False, True], 1), ([True, False, True], 2)],
)
def test_a_saga_whose_refusal_could_leave_half_of_it_cannot_be_written_down(undoable: list[bool], pivot: int) -> None:
    with pytest.raises(AssertionError):
        Shape(undoable, pivot, turns_back_on_unknown=False)


@pytest.mark.parametrize(("undoable", "pivot"), [([False], 0), ([True, False], 1), ([True, True], 0)])
def test_a_saga_with_a_step_that_stays_done_may_not_turn_back_on_an_unknown_outcome(
    undoable: list[bool], pivot: int
) -> None:
    # Its first owner does every step and dies; the successor's first call is lost: it would undo half of it.
    Shape(undoable, pivot, turns_back_on_unknown=False)
    with pytest.raises(AssertionError):
        Shape(undoable, pivot, turns_back_on_unknown=True)


@pytest.mark.parametrize(
    ("shape", "verdicts", "log"),
    [
        (OPEN.shape, [D, D], ["do 0", "do 1", "completed"]),
        (OPEN.shape, [R, D, D], ["do 0", "turned", "undo 1", "undo 0", "undone"]),
        (OPEN.shape, [U, D, D], ["do 0", "turned", "undo 1", "undo 0", "undone"]),
        (OPEN.shape, [D, R, D, D], ["do 0", "do 1", "turned", "undo 1", "undo 0", "undone"]),
        (OPEN.shape, [D, U, D, D], ["do 0", "do 1", "turned", "undo 1", "undo 0", "undone"]),
        (OPEN.shape, [D, U, U], ["do 0", "do 1", "turned", "undo 1", "stopped"]),
        (CONFIRM.shape, [D, D, D], ["do 0", "do 1", "do 2", "completed"]),
        (CONFIRM.shape, [R, D, D], ["do 0", "turned", "undo 1", "undo 0", "undone"]),
        (CONFIRM.shape, [U], ["do 0", "stopped"]),
        (CONFIRM.shape, [D, R, D, D], ["do 0", "do 1", "turned", "undo 1", "undo 0", "undone"]),
        (CONFIRM.shape, [R, S, D], ["do 0", "turned", "undo 1", "turned", "do 2", "completed"]),
        (CONFIRM.shape, [D, U], ["do 0", "do 1", "stopped"]),
        (CONFIRM.shape, [D, D, U], ["do 0", "do 1", "do 2", "stopped"]),
        (CONFIRM.shape, [D, D, R], ["do 0", "do 1", "do 2", "stopped"]),
    ],
)
def test_the_checkouts_sagas_go_this_way(shape: Shape, verdicts: list[Verdict], log: list[str]) -> None:
    assert list(played(Run(shape), iter(verdicts))) == log


@dataclass
class World:
    """Services that know what was done and, each for itself, the highest fence. `late` is still on the wire."""

    done: set[int] = field(default_factory=set)
    fences: dict[int, int] = field(default_factory=dict)
    late: list[tuple[int, int]] = field(default_factory=list)

    def act(self, step: int, fence: int, *, undo: bool) -> None:
        """A command arrives."""
        if fence < self.fences.get(step, 0):
            return
        self.fences[step] = fence
        if undo:
            self.done.discard(step)
        else:
            self.done.add(step)


FATES = ("answered", "refused", "lost on the way", "answer lost", "late", "crash before", "crash after")
"""What may become of a call. `late`: nobody knows, and it arrives when the saga is over."""


def owned(run: Run, world: World, owner: int, fates: Iterator[str]) -> bool:
    """What one owner does until it has ended, leaves the rest, or crashes; whether it has ended."""
    while not run.over:
        step, undo, fate = run.at, run.backwards, next(fates, "answered")
        # What was done once is answered so again, and past the pivot nothing may be refused: the contract of steps.
        if fate == "refused" and (undo or run.past_pivot or step in world.done):
            fate = "answered"
        fence = 2 * owner + undo
        if fate in {"answered", "answer lost", "crash after"}:
            world.act(step, fence, undo=undo)
        if fate == "late" and not undo:
            world.late.append((step, fence))
        if fate.startswith("crash") or run.take({"answered": D, "refused": R}.get(fate, U)) is Turn.STOP:
            return False
    return True


@settings(max_examples=500)
@given(st.data(), shapes(), st.lists(st.sampled_from(FATES), max_size=12))
def test_whatever_crashes_and_gets_lost_a_saga_ends_whole_or_not_at_all(
    data: st.DataObject, shape: Shape, fates: list[str]
) -> None:
    world, ways = World(), iter(fates)
    run, owner = Run(shape), 1
    while not owned(run, world, owner, ways):
        run, owner = Run(shape, backwards=run.backwards), owner + 1  # the turn is committed before the first undo
    for step, fence in data.draw(st.permutations(world.late)):
        world.act(step, fence, undo=False)
    if run.backwards:
        every = {step for step, undoable in enumerate(shape.undoable) if undoable or step > shape.pivot}
        assert world.done & every == set(), "something is left"
    else:
        assert world.done == set(range(len(shape.undoable))), "something was not done"
