"""What a search tries: around the plan, in the direction the judgement points to, and repeatable."""

from __future__ import annotations

import math

import pytest

from services.trainer.plan import Settings
from services.trainer.search_space import Direction, Trial, best_first, candidates

SETTINGS = Settings(1e-3, 2.0, 8, 2048, 13, 1, "linear", 0.05, 0.0, 5, False)


@pytest.mark.parametrize(("direction", "low", "high"), [("lower", 1e-4, 7e-4), ("higher", 1.4e-3, 1e-2), ("any", 1e-4, 1e-2)])
def test_learning_rates_cover_the_direction_evenly(direction: Direction, low: float, high: float) -> None:
    rates = sorted(each.learning_rate for each in candidates(SETTINGS, 8, direction, with_rank=True))
    assert low * 0.99 <= rates[0] < rates[-1] <= high * 1.01
    parts = [int(8 * math.log(rate / low) / math.log(high / low) + 0.01) for rate in rates]
    assert len(set(parts)) >= 7


def test_the_rank_stays_within_what_is_served_and_epochs_follow_the_direction() -> None:
    higher = candidates(SETTINGS, 12, "higher", with_rank=True)
    assert {each.lora_rank for each in higher} <= {8, 16}
    assert {each.epochs for each in higher} <= {2.0, 4.0, 6.0}
    lower = candidates(SETTINGS, 12, "lower", with_rank=True)
    assert {each.lora_rank for each in lower} <= {4, 8, 16}
    assert {each.epochs for each in lower} <= {1.0, 2.0}
    assert {each.lora_rank for each in candidates(SETTINGS, 12, "any", with_rank=False)} == {8}


def test_the_same_plan_tries_the_same() -> None:
    assert candidates(SETTINGS, 5, "any", with_rank=True) == candidates(SETTINGS, 5, "any", with_rank=True)


def test_what_diverged_comes_last() -> None:
    good, poor, wild = (Trial(SETTINGS, loss, loss == 0.1, ()) for loss in (1.0, 2.0, 0.1))
    assert best_first([wild, poor, good]) == [good, poor, wild]
