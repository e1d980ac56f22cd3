"""Reads the curves of a training: what they do at the end, how they would look without their noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from services.trainer.domain import Step
from services.trainer.plan import Outcome

STILL_FALLING = 0.02
"""Share of the initial validation loss that the last quarter of the steps takes off; a schedule that ends at 0 leaves less."""
STILL_FALLING_SEEN = 0.05
"""The same for the training loss, which wavers more."""


def smoothed(values: Sequence[float], half_life: float) -> list[float]:
    """Exponential moving average without the pull of its beginning (as Adam corrects its moments). `half_life` in steps."""
    keep = 0.5 ** (1 / max(half_life, 1e-9))
    total = weight = 0.0
    result = []
    for value in values:
        if math.isfinite(value):
            total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        result.append(total / weight if weight else math.nan)
    return result


def validation_curve(steps: Sequence[Step], initial: float | None = None) -> list[tuple[int, float]]:
    """(step, validation loss) where it was measured; `initial` at step 0."""
    start = [] if initial is None else [(0, initial)]
    return start + [(step.step, step.validation_loss) for step in steps if step.validation_loss is not None]


def lowest_validation_loss(outcome: Outcome) -> float:
    """The lowest there ever was, before the first step included."""
    curve = validation_curve(outcome.steps, outcome.initial_validation_loss)
    return min([value for _, value in curve if math.isfinite(value)] + [outcome.final_validation_loss])


def gradient_growth(steps: Sequence[Step]) -> float:
    """Largest gradient norm of the second half over the median of the first fifth (at least 3 steps); 1 with fewer than 10 steps."""
    norms = [step.gradient_norm for step in steps if math.isfinite(step.gradient_norm)]
    if len(norms) < 10:
        return 1.0
    early = sorted(norms[: max(3, len(norms) // 5)])
    return max(norms[len(norms) // 2 :]) / max(early[len(early) // 2], 1e-9)


def falls_at_the_end(steps: Sequence[Step], initial: float) -> str | None:
    """A phrase with the figures when the loss was still falling in the last quarter of the steps; None when it had levelled off."""
    if len(steps) < 8 or initial <= 0:
        return None
    last = steps[-1].step
    curve = [(step, value) for step, value in validation_curve(steps) if math.isfinite(value)]
    quarter = [(step, value) for step, value in curve if step >= 0.7 * last]
    if len(quarter) >= 2:
        fall = (quarter[0][1] - quarter[-1][1]) / initial
        if fall >= STILL_FALLING:
            return f"from {quarter[0][1]:.3f} at step {quarter[0][0]} to {quarter[-1][1]:.3f} at step {quarter[-1][0]} on unseen examples"
        return None
    losses = [step.training_loss for step in steps if math.isfinite(step.training_loss)]
    size = len(losses) // 4
    before, after = sum(losses[-2 * size : -size]) / size, sum(losses[-size:]) / size
    if (before - after) / initial >= STILL_FALLING_SEEN:
        return f"from {before:.3f} to {after:.3f} on seen examples, from the third quarter to the last"
    return None
