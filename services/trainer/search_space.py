"""Which hyperparameters a search tries: drawn around those of a plan, in the direction its judgement points to. Knows no Ray."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from services.trainer.domain import Step
from services.trainer.plan import Settings

Direction = Literal["lower", "higher", "any"]

_RATES = {"lower": (0.1, 0.7), "higher": (1.4, 10.0), "any": (0.1, 10.0)}
"""Factors of the learning rate. What was tried and rejected is not tried again, so the one-sided ones stay clear of 1."""
_EPOCHS = {"lower": (0.5, 1.0), "higher": (1.0, 2.0, 3.0), "any": (0.5, 1.0, 2.0)}
_RANKS = (4, 8, 16)
_SCHEDULES: tuple[Literal["linear", "cosine", "constant"], ...] = ("linear", "cosine", "constant")


@dataclass(frozen=True)
class Trial:
    """One training of a search, as far as it was let run. `validation_loss` is infinite when it had none or diverged."""

    settings: Settings
    validation_loss: float
    diverged: bool
    steps: tuple[Step, ...]


def candidates(settings: Settings, count: int, direction: Direction, *, with_rank: bool) -> list[Settings]:
    """`count` settings to try, repeatable by the seed of `settings`.

    Learning rates are log-uniform, one from each of `count` equal parts of the range (Latin hypercube: McKay et al., 1979), so that few
    trials still cover it; the rest is drawn at random (Bergstra and Bengio, 2012). The rank is never raised above what generators are known
    to serve: 16, or what the plan has.
    """
    rng = random.Random(f"{settings.seed}/{direction}")  # noqa: S311 - repeatable, not secret
    low, high = _RATES[direction]
    parts = list(range(count))
    rng.shuffle(parts)
    highest = max(16, settings.lora_rank)
    ranks = [
        rank for rank in {*_RANKS, settings.lora_rank} if rank <= highest and not (direction == "higher" and rank < settings.lora_rank)
    ]
    made = []
    for part in parts:
        rate = settings.learning_rate * low * (high / low) ** ((part + rng.random()) / count)
        made.append(
            replace(
                settings,
                learning_rate=float(f"{rate:.3g}"),
                epochs=settings.epochs * rng.choice(_EPOCHS[direction]),
                lora_rank=rng.choice(sorted(ranks)) if with_rank else settings.lora_rank,
                learning_rate_schedule=rng.choice(_SCHEDULES),
            )
        )
    return made


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    """By validation loss; those that diverged last."""
    return sorted(trials, key=lambda trial: (trial.diverged, trial.validation_loss))
