"""Costs per question and where the lines cross."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.trainer.asked import Asked, Label, Way
from services.trainer.costing import Prices, break_even, cost, measure_ways
from services.trainer.domain import TrainingUsage, WayCost
from services.trainer.settings import PriceSettings

PRICES = Prices("EUR", engine_second=2.0, retrieval_second=1.0, training_second=1.0)
RETRIEVAL = WayCost("retrieval", 20, 500, 20, 0.1, 1.0, 0.3)
TUNED = WayCost("tuned", 20, 30, 10, 0.0, 0.3, 0.2)
BOTH = WayCost("both", 20, 500, 10, 0.1, 0.8, 0.5)
USAGE = TrainingUsage(training_seconds=300, evaluation_seconds=100, preparation_seconds=50)


@pytest.mark.parametrize(
    ("fixed", "running", "alternative", "questions"),
    [(100, 1, 2, 100), (100, 1, 1, 0), (100, 2, 1, 0), (101, 1, 3, 51), (0, 1, 2, 1), (0, 2, 2, 0)],
)
def test_lines_cross_once_or_never(fixed: float, running: float, alternative: float, questions: int):
    assert break_even(fixed, running, alternative) == questions
    if questions > 1:
        assert fixed + questions * running <= questions * alternative
        assert fixed + (questions - 1) * running > (questions - 1) * alternative


def test_costs_are_seconds_times_prices_and_training_is_spread():
    report = cost([BOTH, TUNED, RETRIEVAL], USAGE, PRICES, 1000)
    assert report.training_cost == 300 + 2 * 150
    assert [row.measured.way for row in report.rows] == ["retrieval", "tuned", "both"]
    assert [row.running_cost for row in report.rows] == pytest.approx([2.1, 0.6, 1.7])
    assert [row.training_cost for row in report.rows] == pytest.approx([0, 0.6, 0.6])
    assert report.rows[1].total_cost == pytest.approx(1.2)
    assert (report.break_even_tuned, report.break_even_both) == (400, 1500)
    assert report.prices.by_name() == {"engine_second": 2.0, "retrieval_second": 1.0, "training_second": 1.0}


def test_what_never_pays_is_said():
    report = cost([RETRIEVAL, replace(BOTH, engine_seconds=1.5), TUNED], USAGE, PRICES, 1)
    assert report.break_even_both == 0
    assert any("Tuning and retrieval never becomes cheaper" in note for note in report.notes)
    same = cost([RETRIEVAL, replace(BOTH, engine_seconds=1.0)], USAGE, PRICES, 1)
    assert any("a question costs the same" in note for note in same.notes)


def test_notes_say_what_tuning_alone_cannot_do():
    notes = " ".join(cost([RETRIEVAL, TUNED, BOTH], USAGE, PRICES, 10).notes)
    assert "F1 of 0.20, against 0.30" in notes
    assert "cannot cite" in notes
    assert "50% for the training itself" in notes


def test_few_questions_and_missing_retrieval_are_said():
    ways = [replace(way, count=3, retrieval_seconds=0.0) for way in (RETRIEVAL, TUNED, BOTH)]
    notes = " ".join(cost(ways, USAGE, PRICES, 10).notes)
    assert "3 questions are few" in notes
    assert "brought their own passages" in notes


def test_nothing_measured_costs_training_alone():
    report = cost([], USAGE, PRICES, 0)
    assert (report.rows, report.break_even_tuned, report.question_count) == ((), 0, 1)


def test_prices_that_are_not_given_are_cores():
    prices = Prices.of(PriceSettings(), core_count=8, worker_count=4)
    assert (prices.engine_second, prices.training_second, prices.retrieval_second, prices.currency) == (8, 2, 1, "CPU-seconds")
    given = Prices.of(PriceSettings(currency="EUR", engine_second=0.0, training_second=0.5), core_count=8)
    assert (given.engine_second, given.training_second) == (0.0, 0.5)


def asked(example_id: str, version: Label, way: Way, seconds: float, *, alone: bool = True) -> Asked:
    return Asked(
        example_id, version, way, "", False, 0.5, False, None, prompt_tokens=100, completion_tokens=5, engine_seconds=seconds, alone=alone
    )


def test_ways_are_measured_on_questions_asked_alone_and_every_way():
    answers = [
        asked("a", "base", "served", 1.0), asked("a", "serving", "served", 7.0), asked("a", "candidate", "served", 0.8),
        asked("a", "candidate", "tuned", 0.2),
        asked("b", "base", "served", 3.0), asked("b", "candidate", "served", 1.2), asked("b", "candidate", "tuned", 0.4),
        asked("c", "base", "served", 9.0), asked("c", "candidate", "served", 9.0),
        asked("d", "base", "served", 9.0, alone=False),
    ]  # fmt: skip
    ways = {way.way: way for way in measure_ways(answers)}
    assert {name: way.engine_seconds for name, way in ways.items()} == pytest.approx({"retrieval": 2.0, "tuned": 0.3, "both": 1.0})
    assert {way.count for way in ways.values()} == {2}
    assert measure_ways(answers[-1:]) == ()
