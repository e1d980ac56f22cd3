"""Runs that went wrong, each in its way, and the cause that is named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from services.trainer.curves import falls_at_the_end, gradient_growth, smoothed
from services.trainer.diagnosing import Diagnosis, diagnose
from services.trainer.domain import Cause, MetricComparison, Step
from services.trainer.evidence import Evidence
from services.trainer.gate import Decision
from services.trainer.gate_metrics import Compared
from services.trainer.plan import Outcome, Settings
from services.trainer.reporting import CAUSE_NAMES

SETTINGS = Settings(1e-3, 1.0, 16, 4096, 13, 1, "linear", 0.05, 0.0, 50, False)


def run(
    validation: Callable[[float], float], training: Callable[[float], float] | None = None, count: int = 100, gradient: float = 1.0
) -> tuple[Step, ...]:
    """Steps whose losses follow two functions of the share of the run that is done, 0…1; validation is measured five times."""
    every = max(count // 5, 1)
    return tuple(
        Step(step, (training or validation)(step / count), 1e-3, 300.0, gradient, validation(step / count) if step % every == 0 else None)
        for step in range(1, count + 1)
    )


def levelling(start: float, end: float) -> Callable[[float], float]:
    return lambda share: end + (start - end) * math.exp(-9 * share)


def outcome(steps: tuple[Step, ...], final: float, training: float, **changes: object) -> Outcome:
    fields = {
        "kind": "adapter", "result_url": "", "merged_url": "", "steps": steps,
        "initial_validation_loss": 3.0, "final_validation_loss": final,
        "final_training_loss": training, "shuffled_validation_loss": final + 1.0, "diverged": False, "tokens": 100_000,
        "worker_seconds": 300.0, "training_count": 400, "validation_count": 100,
    } | changes  # fmt: skip
    return Outcome(**fields)  # type: ignore[arg-type]


def verdict(*failed: str, guards: tuple[str, ...] = ()) -> Decision:
    return Decision(False, "answer_f1", (), (), failed, guards)  # type: ignore[arg-type]


def compared(gain: float = 0.0, probability: float = 0.5, count: int = 50) -> Compared:
    return Compared(MetricComparison("answer_f1", 0.3, 0.3, 0.3 + gain, gain - 0.05, gain + 0.05, count), probability, 1 - probability)


LEARNT = run(levelling(3.0, 1.5))
GOOD = Evidence(
    outcome=outcome(LEARNT, 1.5, 1.4),
    settings=SETTINGS,
    decision=verdict("margin"),
    compared=(compared(),),
    canary_shift=0.3,
    held_out_count=50,
    training_example_count=400,
)


def but(**changes: object) -> Evidence:
    return replace(GOOD, **changes)  # type: ignore[arg-type]


OVERFIT = outcome(run(lambda s: 1.5 + 3 * (s - 0.4) ** 2, lambda s: 3 * math.exp(-4 * s)), 2.6, 0.2, shuffled_validation_loss=4.0)
STILL = outcome(run(lambda s: 3.0), 2.98, 2.97, shuffled_validation_loss=3.9)

CASES = {
    "the loss was no number": (but(outcome=outcome(LEARNT[:30], math.nan, math.nan, diverged=True)), Cause.LEARNING_RATE_TOO_HIGH, "lower"),
    "the loss rose on seen and unseen examples": (
        but(outcome=outcome(run(lambda s: 3 + 3 * s), 6.0, 5.9)), Cause.LEARNING_RATE_TOO_HIGH, "lower"),
    "gradients grew and nothing was learnt": (
        but(outcome=outcome(run(lambda s: 3.0)[:50] + run(lambda s: 3.0, gradient=40.0)[50:], 3.1, 2.5)),
        Cause.LEARNING_RATE_TOO_HIGH, "lower"),
    "the canary stands still although the loss fell": (but(canary_shift=0.0002), Cause.NO_EFFECT, "any"),
    "the canary stands still because nothing moved": (but(canary_shift=0.0002, outcome=STILL), Cause.LEARNING_RATE_TOO_LOW, "higher"),
    "responses do not depend on prompts": (
        but(outcome=outcome(LEARNT, 2.2, 2.1, shuffled_validation_loss=2.25)), Cause.INCONSISTENT_DATA, "any"),
    "nothing supports most answers": (but(unsupported_share=0.7, kept_unsupported_count=12), Cause.INCONSISTENT_DATA, "any"),
    "training examples among the unseen ones": (but(leak_count=20), Cause.LEAKING_DATA, "any"),
    "too few held-out examples": (but(decision=verdict("examples"), compared=(compared(count=4),)), Cause.TOO_LITTLE_DATA, "lower"),
    "few examples learnt by heart": (but(outcome=OVERFIT, training_example_count=20), Cause.TOO_LITTLE_DATA, "lower"),
    "many examples learnt by heart": (but(outcome=OVERFIT), Cause.OVERFITTING, "lower"),
    "the loss hardly moved": (but(outcome=STILL), Cause.LEARNING_RATE_TOO_LOW, "higher"),
    "few steps": (
        but(outcome=outcome(run(lambda s: 3 - 0.1 * s, count=5), 2.9, 2.9, shuffled_validation_loss=3.9)), Cause.UNDERFITTING, "higher"),
    "still falling": (but(outcome=outcome(run(lambda s: 3 - 1.2 * s), 1.8, 1.8)), Cause.UNDERFITTING, "higher"),
    "level, high, and a small rank": (
        but(outcome=outcome(run(levelling(3.0, 2.6)), 2.6, 2.55, shuffled_validation_loss=3.4), settings=replace(SETTINGS, lora_rank=2)),
        Cause.RANK_TOO_SMALL, "higher"),
    "few examples and nothing else": (but(training_example_count=30), Cause.TOO_LITTLE_DATA, "lower"),
    "better, but by chance perhaps": (
        but(decision=verdict("confidence"), compared=(compared(0.05, 0.88),)), Cause.TOO_LITTLE_DATA, "lower"),
    "learnt, and the answers are no better": (GOOD, Cause.WRONG_OBJECTIVE, "any"),
    "better at the cost of refusals": (but(decision=verdict("guards", guards=("refusal_f1",))), Cause.WRONG_OBJECTIVE, "any"),
    "nothing stands out": (
        but(outcome=outcome(run(levelling(3.0, 2.8)), 2.8, 2.5, shuffled_validation_loss=3.6)), Cause.UNDERFITTING, "higher"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_cause_is(case: str):
    evidence, cause, direction = CASES[case]
    found = diagnose(evidence)
    assert (found.cause, found.direction) == (cause, direction), found.evidence
    assert found.evidence
    assert all(sentence.endswith(".") for sentence in (*found.evidence, found.advice))


def test_evidence_brings_its_figures():
    def told(case: str) -> str:
        found: Diagnosis = diagnose(CASES[case][0])
        return " ".join(found.evidence)

    assert "from 3.000 to 2.980 (-0.7%)" in told("the loss hardly moved")
    assert "0.200 on seen examples and 2.600 on unseen ones" in told("many examples learnt by heart")
    assert "20 of the 150" in told("training examples among the unseen ones")
    assert "`refusal_f1`" in told("better at the cost of refusals")
    assert "70% of the answers" in told("nothing supports most answers")


def test_one_text_for_every_prompt_is_not_taken_for_contradiction():
    known = outcome(LEARNT, 0.1, 0.1, shuffled_validation_loss=0.1)
    assert diagnose(but(outcome=known)).cause is Cause.WRONG_OBJECTIVE


def test_a_whole_model_has_no_rank():
    whole = outcome(run(levelling(3.0, 2.6)), 2.6, 2.55, shuffled_validation_loss=3.4, kind="model")
    assert diagnose(but(outcome=whole, settings=replace(SETTINGS, lora_rank=2))).cause is not Cause.RANK_TOO_SMALL


def test_every_cause_has_a_name_for_people():
    assert set(CAUSE_NAMES) == set(Cause)


# Curves


def test_smoothing_begins_at_the_first_value_and_passes_over_what_is_no_number():
    assert smoothed([2.0, 2.0, math.nan, 2.0], 3) == pytest.approx([2.0] * 4)
    assert smoothed([0.0] * 50 + [1.0] * 10, 10)[-1] == pytest.approx(0.5, abs=0.02)


def test_the_end_of_a_curve_is_read_from_validation_or_else_from_training():
    assert falls_at_the_end(run(levelling(3.0, 1.0)), 3.0) is None
    assert "on unseen examples" in (falls_at_the_end(run(lambda s: 3 - s), 3.0) or "")
    unmeasured = tuple(replace(step, validation_loss=None) for step in run(lambda s: 3 - s))
    assert "on seen examples" in (falls_at_the_end(unmeasured, 3.0) or "")
    assert falls_at_the_end(run(lambda s: 3 - s, count=4), 3.0) is None


def test_gradients_of_short_runs_say_nothing():
    assert gradient_growth(run(lambda s: 1.0, count=5)) == 1


def test_a_new_model_that_knows_no_language_yet_says_nothing_of_the_examples() -> None:
    steps = run(levelling(10.8, 5.8))
    new = outcome(steps, 5.8, 5.7, kind="model", initial_validation_loss=10.8, shuffled_validation_loss=5.81)
    found = diagnose(replace(GOOD, outcome=new))
    assert found.cause is Cause.UNDERFITTING
    assert "new model that knows no language" in " ".join(found.evidence)
    # One that did learn to write is judged as any other.
    learnt = replace(new, final_validation_loss=2.0, final_training_loss=1.9, shuffled_validation_loss=2.01)
    assert diagnose(replace(GOOD, outcome=replace(learnt, initial_validation_loss=6.5))).cause is Cause.INCONSISTENT_DATA
