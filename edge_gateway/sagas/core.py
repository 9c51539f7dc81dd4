"""Which step of a saga comes next: the pure core.

    forwards: do 0, do 1, … ─► completed
        │ a step before the pivot, or the pivot itself,     ▲
        │ is refused (or, where the saga says so, unknown)  │ the pivot stands: it was done, and cannot be undone
        ▼                                                   │
    backwards: undo the pivot ──────────────────────────────┘
               undo …, undo 0 ─► undone

Nothing is remembered between processes but the direction: all actions and undos may be repeated, so whoever takes over
begins at the first step. For the same reason a saga turns back from its pivot, wherever it was: what an earlier owner
did further on, or sent and lost, is unknown, and so is what becomes of an attempt before the one that was refused. The
undo of what never happened succeeds, and its higher fence bars what is still on its way. After the pivot there is no
way back: steps are only repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What became of an action or an undo."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    STANDS = "stands"
    """An undo's only: the action was done, for good."""


class Turn(Enum):
    """What a verdict means for the run."""

    GO_ON = "go on"
    TURN_BACK = "turn back"
    TURN_FORWARD = "turn forward"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Shape:
    """What the core must know of a saga: whether each step has an undo, and where the pivot is.

    `turns_back_on_unknown`: an action before the pivot whose outcome is unknown is undone; else whoever takes over asks
    again until it is known.
    """

    undoable: Sequence[bool]
    pivot: int
    turns_back_on_unknown: bool

    def __post_init__(self) -> None:
        """A step before the pivot that cannot be undone would make a refusal after it half a saga."""
        assert 0 <= self.pivot < len(self.undoable), f"the pivot {self.pivot} is not one of {len(self.undoable)} steps"
        assert all(self.undoable[: self.pivot]), f"every step before the pivot {self.pivot} needs an undo"
        # A successor that hears nothing from the first step cannot know how far the saga had come.
        assert not self.turns_back_on_unknown or (self.pivot == len(self.undoable) - 1 and self.undoable[self.pivot]), (
            "only a saga of which everything can be undone may turn back on an unknown outcome"
        )


class Run:
    """One run of a saga, by one owner."""

    def __init__(self, shape: Shape, *, backwards: bool = False, past_pivot: bool = False) -> None:
        """From the first step, unless an earlier owner had turned back, or had gone past the pivot."""
        assert not (backwards and past_pivot), "there is no way back from past the pivot"
        self._shape = shape
        self.backwards = backwards
        self.at = shape.pivot if backwards else shape.pivot + 1 if past_pivot else 0
        self._skip_without_undo()

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self.at < 0 if self.backwards else self.at >= len(self._shape.undoable)

    @property
    def past_pivot(self) -> bool:
        """Whether there is no way back any more."""
        return not self.backwards and self.at > self._shape.pivot

    def take(self, verdict: Verdict) -> Turn:
        """The verdict on the step `at`. After a turn the run goes the other way, once that is committed."""
        assert not self.over, "the run is over"
        if verdict is Verdict.STANDS:
            assert self.backwards, "only an undo can tell that something stands"
            assert self.at == self._shape.pivot, f"step {self.at} stands, which is not the pivot {self._shape.pivot}"
            self.backwards = False
            self.at += 1
            return Turn.TURN_FORWARD
        if verdict is Verdict.DONE:
            self.at += -1 if self.backwards else 1
            self._skip_without_undo()
            return Turn.GO_ON
        if self.backwards or self.past_pivot:
            return Turn.STOP
        if verdict is Verdict.UNKNOWN and not self._shape.turns_back_on_unknown:
            return Turn.STOP
        self.backwards = True
        self.at = self._shape.pivot
        self._skip_without_undo()
        return Turn.TURN_BACK

    def _skip_without_undo(self) -> None:
        while self.backwards and self.at >= 0 and not self._shape.undoable[self.at]:
            self.at -= 1
