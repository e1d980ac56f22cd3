"""The examples a training reads: fetched, without those that cannot be used."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from services.chassis.checked_folder import read_whole
from services.trainer.domain import TrainingFailed
from services.trainer.token_samples import TokenSample, read_samples

VALIDATION_EXAMPLES = 64
"""Validation examples that are used at most, a fixed random choice: validating six times on more would take as long as learning."""


def training_and_validation(url: str, context_tokens: int, seed: int) -> tuple[list[TokenSample], list[TokenSample]]:
    """What to learn from, and what to validate on. Raises `TrainingFailed` when either is empty."""
    training, validation = (_usable(_read(url, name), context_tokens) for name in ("training", "validation"))
    if not training or not validation:
        raise TrainingFailed("There is no example left to train on, or none to validate on: all are longer than the model's context.")
    return training, choose(validation, VALIDATION_EXAMPLES, seed)


def choose(samples: Sequence[TokenSample], count: int, seed: int) -> list[TokenSample]:
    """At most `count` of them, in their order, repeatable by the seed."""
    if len(samples) <= count:
        return list(samples)
    return [samples[index] for index in sorted(random.Random(seed).sample(range(len(samples)), count))]  # noqa: S311 - repeatable, not secret


def loss_weight(samples: Iterable[TokenSample]) -> float:
    """What a sum of losses is divided by: the number of tokens of responses, each times its example's weight."""
    return sum(sample.weight * len(sample.response_ids) for sample in samples)


def _read(url: str, name: str) -> list[TokenSample]:
    content = read_whole(f"{url}/{name}.safetensors")
    if content is None:
        raise TrainingFailed(f"The {name} examples of the dataset are not where they should be.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.safetensors"
        path.write_bytes(content)
        return read_samples(path)


def _usable(samples: Iterable[TokenSample], context_tokens: int) -> list[TokenSample]:
    return [
        sample for sample in samples if sample.prompt_ids and sample.response_ids and sample.weight > 0 and sample.length <= context_tokens
    ]
