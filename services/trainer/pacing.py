"""How a training is paced: the learning rate of each step, when to validate, and when to give up."""

from __future__ import annotations

import math
from collections.abc import Sequence

from services.trainer.domain import Step
from services.trainer.plan import Settings

_MOST_BETWEEN = 3
_VALIDATING_SHARE = 0.25
_VALIDATING_COST = 1 / 3
"""Of a token, beside learning from it: no way back, which is two thirds of the work."""


def learning_rate(step: int, total: int, settings: Settings) -> float:
    """The rate of a step, from 1: rises over the warm-up, then stays, or falls to nothing after the last."""
    warmup = round(settings.warmup_share * total)
    if step <= warmup:
        return settings.learning_rate * step / (warmup + 1)
    gone = (step - 1 - warmup) / max(1, total - warmup)
    factor = {"constant": 1.0, "linear": 1 - gone, "cosine": 0.5 * (1 + math.cos(math.pi * gone))}[settings.learning_rate_schedule]
    return settings.learning_rate * factor


def validation_steps(total: int, training_tokens: float, validation_tokens: int) -> set[int]:
    """After which steps to validate: the last, and one to three evenly spaced before it, as many as take a quarter of the time at most.

    `training_tokens` are those of all epochs, `validation_tokens` those of validating once.
    """
    affordable = int(_VALIDATING_SHARE * training_tokens / (_VALIDATING_COST * validation_tokens))
    between = min(_MOST_BETWEEN, max(1, affordable))
    return {max(1, round(total * part / (between + 1))) for part in range(1, between + 2)}


def has_diverged(steps: Sequence[Step], initial: float) -> bool:
    """Whether training does harm: unseen examples have twice the loss they began with (`initial`), or the last five steps two and a half
    times that of the first five, and rising."""
    validated = [step.validation_loss for step in steps if step.validation_loss is not None]
    if validated and not validated[-1] < 2 * initial:
        return True
    losses = [step.training_loss for step in steps]
    if len(losses) < 10:
        return False
    last, before, first = (sum(part) / 5 for part in (losses[-5:], losses[-10:-5], losses[:5]))
    return last > 2.5 * min(first, initial) and last > before
