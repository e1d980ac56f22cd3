"""What a question costs with retrieval, with tuning alone and with both, and from how many questions on tuning pays.

Everything is measured by the gate on the same questions, one at a time; only the prices are given. Training is a fixed sum, so the cost of
N questions is a straight line for each way, and two lines cross once or never.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from services.trainer.asked import Asked
from services.trainer.domain import TrainingUsage, WayCost
from services.trainer.settings import PriceSettings

ORDER: tuple[Literal["retrieval", "tuned", "both"], ...] = ("retrieval", "tuned", "both")
NAMES: Mapping[str, str] = MappingProxyType({"retrieval": "retrieval alone", "tuned": "tuning alone", "both": "tuning and retrieval"})
_LEAST_COUNT = 10


@dataclass(frozen=True)
class Prices:
    """Prices with nothing left open, in `currency` per second. `training_second` is that of one training worker."""

    currency: str
    engine_second: float
    retrieval_second: float
    training_second: float

    @classmethod
    def of(cls, settings: PriceSettings, core_count: int, worker_count: int = 1) -> Prices:
        """What is not given is CPU-seconds: the engine has all cores, and so have a training's workers together."""
        cores = float(max(core_count, 1))
        return cls(
            currency=settings.currency,
            engine_second=cores if settings.engine_second is None else settings.engine_second,
            retrieval_second=settings.retrieval_second,
            training_second=cores / max(worker_count, 1) if settings.training_second is None else settings.training_second,
        )

    def by_name(self) -> dict[str, float]:
        """For the contract."""
        return {
            "engine_second": self.engine_second,
            "retrieval_second": self.retrieval_second,
            "training_second": self.training_second,
        }


@dataclass(frozen=True)
class CostPerQuestion:
    """One way's means and costs per question. `training_cost` is spread over the questions; 0 for retrieval alone."""

    measured: WayCost
    running_cost: float
    training_cost: float

    @property
    def total_cost(self) -> float:
        """Running and training."""
        return self.running_cost + self.training_cost


@dataclass(frozen=True)
class CostReport:
    """The costs of all ways that were measured. Break-even numbers are of questions; 0: never."""

    rows: tuple[CostPerQuestion, ...]
    prices: Prices
    training_cost: float
    question_count: int
    break_even_tuned: int
    break_even_both: int
    notes: tuple[str, ...]


def measure_ways(asked: Sequence[Asked]) -> tuple[WayCost, ...]:
    """Means of the questions that were asked one at a time, base and candidate and the candidate without passages; the same for all ways.

    Empty when no question was asked so.
    """
    alone = [each for each in asked if each.alone]
    answers: dict[str, dict[str, Asked]] = {"retrieval": {}, "tuned": {}, "both": {}}
    for each in alone:
        if each.way == "tuned":
            answers["tuned"][each.example_id] = each
        elif each.version == "base":
            answers["retrieval"][each.example_id] = each
        elif each.version == "candidate":
            answers["both"][each.example_id] = each
    common = sorted(set.intersection(*(set(each) for each in answers.values())))
    if not common:
        return ()

    def mean(way: str, value: str) -> float:
        return sum(float(getattr(answers[way][example_id], value)) for example_id in common) / len(common)

    return tuple(
        WayCost(
            way=way,
            count=len(common),
            prompt_tokens=mean(way, "prompt_tokens"),
            completion_tokens=mean(way, "completion_tokens"),
            retrieval_seconds=mean(way, "retrieval_seconds"),
            engine_seconds=mean(way, "engine_seconds"),
            answer_f1=mean(way, "f1"),
        )
        for way in ORDER
    )


def training_cost(usage: TrainingUsage, prices: Prices) -> float:
    """What it cost to make the adapter: training, and the engine's time for preparing the examples and for the gate."""
    return usage.training_seconds * prices.training_second + (usage.evaluation_seconds + usage.preparation_seconds) * prices.engine_second


def running_cost(way: WayCost, prices: Prices) -> float:
    """Of one question."""
    return way.retrieval_seconds * prices.retrieval_second + way.engine_seconds * prices.engine_second


def break_even(fixed: float, running: float, alternative: float) -> int:
    """The least N with fixed + N·running ≤ N·alternative; 0 when there is none."""
    saved = alternative - running
    if saved <= 0:
        return 0
    # Rounded, so that an error in the sixteenth place does not add a question.
    return max(1, math.ceil(round(fixed / saved, 6)))


def cost(ways: Sequence[WayCost], usage: TrainingUsage, prices: Prices, question_count: int) -> CostReport:
    """The costs, training spread over `question_count` questions (at least 1)."""
    count = max(question_count, 1)
    fixed = training_cost(usage, prices)
    by_way: dict[str, WayCost] = {way.way: way for way in ways}
    rows = tuple(
        CostPerQuestion(by_way[way], running_cost(by_way[way], prices), 0.0 if way == "retrieval" else fixed / count)
        for way in ORDER
        if way in by_way
    )
    running: dict[str, float] = {row.measured.way: row.running_cost for row in rows}

    def crossing(way: str) -> int:
        return break_even(fixed, running[way], running["retrieval"]) if way in running and "retrieval" in running else 0

    tuned, both = crossing("tuned"), crossing("both")
    return CostReport(
        rows,
        prices,
        fixed,
        count,
        tuned,
        both,
        _notes(ways=by_way, running=running, usage=usage, prices=prices, fixed=fixed, tuned=tuned, both=both),
    )


def _notes(
    *,
    ways: Mapping[str, WayCost],
    running: Mapping[str, float],
    usage: TrainingUsage,
    prices: Prices,
    fixed: float,
    tuned: int,
    both: int,
) -> tuple[str, ...]:
    notes = []
    least = min((way.count for way in ways.values()), default=0)
    if ways:
        notes.append(f"Measured on {least} questions that have an answer, asked one at a time; the same ones for every way.")
    if ways and least < _LEAST_COUNT:
        notes.append(f"{least} questions are few: take the figures as a first impression.")
    if (way := ways.get("tuned")) is not None:
        against = f", against {ways['retrieval'].answer_f1:.2f} with retrieval" if "retrieval" in ways else ""
        notes.append(
            f"Tuning alone answers with an F1 of {way.answer_f1:.2f}{against}. It cannot cite, knows nothing that came after its training, "
            "and permissions on documents do not reach what it has learnt."
        )
    for name, crossed in (("tuned", tuned), ("both", both)):
        if name in running and "retrieval" in running:
            notes.append(_crossing_note(name, crossed, running, prices))
    if "retrieval" in ways and "both" in ways:
        gained = ways["both"].answer_f1 - ways["retrieval"].answer_f1
        notes.append(
            f"With both, the answers' F1 is {gained:+.2f} against retrieval alone: that is what the training buys beside its cost."
        )
    notes.append(
        f"Training cost {_share(usage.training_seconds * prices.training_second, fixed)} for the training itself, "
        f"{_share(usage.evaluation_seconds * prices.engine_second, fixed)} for the gate and "
        f"{_share(usage.preparation_seconds * prices.engine_second, fixed)} for preparing the examples."
    )
    if ways and all(way.retrieval_seconds == 0 for way in ways.values()):
        notes.append("The questions brought their own passages, so searching cost nothing here; in service it does.")
    return tuple(notes)


def _crossing_note(way: str, crossed: int, running: Mapping[str, float], prices: Prices) -> str:
    name = NAMES[way]
    difference = running["retrieval"] - running[way]
    if not crossed:
        return (
            f"{name.capitalize()} never becomes cheaper than retrieval alone: each question costs {-difference:.3g} {prices.currency} more "
            "even before training is paid."
            if difference < 0
            else f"{name.capitalize()} never becomes cheaper than retrieval alone: a question costs the same."
        )
    return (
        f"{name.capitalize()} is cheaper than retrieval alone from {crossed:,} questions on: each saves {difference:.3g} {prices.currency}."
    )


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "nothing"
