"""What a case has measured, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Result:
    """One case: `measured` and `aim` in `unit`; `reached` is None where nothing is aimed at."""

    case: str
    measured: float
    unit: str
    aim: str = ""
    reached: bool | None = None
    detail: str = ""
    cpu_percent: dict[str, int] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The number with its unit, with as many digits as mean something."""
        return f"{self.measured:,.0f} {self.unit}" if self.measured >= 100 else f"{self.measured:.3g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Windows:
    """The rates of several windows, and what the processes used in the last of them."""

    per_second: list[float]
    cpu: dict[str, int]
    p99_ms: list[float] = field(default_factory=list)

    def __add__(self, other: Windows) -> Windows:
        return Windows(self.per_second + other.per_second, other.cpu, self.p99_ms + other.p99_ms)

    def range(self) -> str:
        """From the slowest to the fastest."""
        return f"{min(self.per_second):,.0f}…{max(self.per_second):,.0f}/s"


def ratio(case: str, ours: Windows, theirs: Windows, name: str, *, aim: float = 0.0, more: str = "") -> Result:
    """Ratio of the medians; the quotients of neighbouring windows tell how much to believe it. No `aim`: 0."""
    measured = median(ours.per_second) / median(theirs.per_second)
    pairs = sorted(one / other for one, other in zip(ours.per_second, theirs.per_second, strict=True))
    detail = (
        f"{median(ours.per_second):,.0f}/s against {median(theirs.per_second):,.0f}/s {name};"
        f" pairs {pairs[0]:.2f}…{pairs[-1]:.2f}{more}"
    )
    reached = measured >= aim if aim else None
    return Result(case, measured, "×", f"≥ {aim:g}" if aim else "", reached, detail, ours.cpu)


def show(results: list[Result], console: Console) -> None:
    """The table."""
    table = Table("case", "measured", "aim", "", "in detail", "processor (% of a core)", show_lines=True)
    for each in results:
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: ""}[each.reached]
        busy = sorted(((used, name) for name, used in each.cpu_percent.items() if used >= 5), reverse=True)
        usage = ", ".join(f"{name} {used}" for used, name in busy)
        table.add_row(each.case, each.shown, each.aim, mark, each.detail, usage)
    console.print(table)
