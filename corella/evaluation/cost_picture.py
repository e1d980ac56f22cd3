"""Draws what answering costs in all over the number of questions, one line for each way, with the points where they cross."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MARGIN = 2.0
"""The picture reaches so many times as far as the last point it has to show."""
POINTS = 2


@dataclass(frozen=True)
class Way:
    """One way to answer: what a question costs, and what was paid before the first one."""

    name: str
    per_question: float
    beforehand: float = 0.0

    def total(self, questions: float) -> float:
        """The cost of so many questions, in the currency of the prices."""
        return self.beforehand + questions * self.per_question


@dataclass(frozen=True)
class Crossing:
    """Where a way becomes cheaper than the first."""

    way: Way
    questions: float
    cost: float


def crossings(ways: list[Way]) -> list[Crossing]:
    """Where each other way becomes cheaper than the first; none for a way whose questions cost as much or more."""
    found = []
    for way in ways[1:]:
        saved = ways[0].per_question - way.per_question
        if saved > 0:
            questions = max(0.0, (way.beforehand - ways[0].beforehand) / saved)
            found.append(Crossing(way, questions, way.total(questions)))
    return found


def reach(ways: list[Way], asked: int) -> float:
    """Questions at the right edge: behind every crossing and behind what was asked so far, at least 1."""
    return max([1.0, MARGIN * asked, *(MARGIN * crossing.questions for crossing in crossings(ways))])


def draw(ways: list[Way], currency: str, file: Path, *, asked: int = 0) -> None:
    """Writes the picture as PNG. The first way is the one that the others are compared with. `asked` is marked as questions so far."""
    # Imported here: it takes a second, and only pictures need it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    right = reach(ways, asked)
    for way in ways:
        xs = [right * index / (POINTS - 1) for index in range(POINTS)]
        axes.plot(xs, [way.total(x) for x in xs], label=_plain(way.name))
    for crossing in crossings(ways):
        axes.plot(crossing.questions, crossing.cost, "o", color="black")
        note = f"{_plain(crossing.way.name)}: cheaper from\n{crossing.questions:,.0f} questions on"
        axes.annotate(note, (crossing.questions, crossing.cost), textcoords="offset points", xytext=(8, -28), fontsize=8)
    if asked:
        axes.axvline(asked, color="grey", linewidth=0.8, linestyle=":", label=f"{asked:,} questions")
    axes.set(
        xlabel="questions", ylabel=f"total cost ({_plain(currency)})", xlim=(0, right), ylim=(0, None), title="What answering costs in all"
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="png")


def _plain(text: str) -> str:
    # A dollar sign would begin a formula.
    return text.replace("$", r"\$")
