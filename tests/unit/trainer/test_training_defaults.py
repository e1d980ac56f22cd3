"""What a caller leaves open about a training is chosen, with its source."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from services.trainer.domain import Hyperparameters, Method
from services.trainer.training_defaults import GIVEN, Machine, SampleCounts, resolve

FEW, SOME, MANY = SampleCounts(60, 25_000), SampleCounts(480, 200_000), SampleCounts(20_000, 8_000_000)


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("samples", [FEW, SOME, MANY])
def test_nothing_is_left_open_and_everything_has_a_source(method: Method, samples: SampleCounts) -> None:
    resolved = resolve(Hyperparameters(), method, samples, Machine())
    assert set(resolved.sources) == set(asdict(resolved.settings))
    assert GIVEN not in resolved.sources.values()
    assert resolved.settings.learning_rate > 0
    assert resolved.settings.checkpoint_steps >= 1


def test_what_was_given_is_kept_also_when_it_is_zero() -> None:
    given = Hyperparameters(learning_rate=1e-5, warmup_share=0.0, weight_decay=0.0, seed=0, use_gpu=False, worker_count=4)
    resolved = resolve(given, Method.FULL, SOME, Machine(gpus=2))
    assert (resolved.settings.learning_rate, resolved.settings.warmup_share, resolved.settings.seed) == (1e-5, 0.0, 0)
    assert (resolved.settings.use_gpu, resolved.settings.worker_count) == (False, 4)
    assert resolved.sources["seed"] == GIVEN


def test_the_rank_is_not_higher_than_is_served() -> None:
    assert resolve(Hyperparameters(), Method.LORA, SOME, Machine()).settings.lora_rank == 16
    assert resolve(Hyperparameters(), Method.LORA, SOME, Machine(max_rank=8)).settings.lora_rank == 8


def test_few_examples_are_gone_over_more_often_in_smaller_steps() -> None:
    few, some, many = (resolve(Hyperparameters(), Method.LORA, samples, Machine()).settings for samples in (FEW, SOME, MANY))
    assert few.epochs > some.epochs >= many.epochs
    assert few.batch_tokens < some.batch_tokens < many.batch_tokens


def test_gpus_are_used_when_there_are_any() -> None:
    settings = resolve(Hyperparameters(), Method.LORA, SOME, Machine(gpus=4)).settings
    assert (settings.use_gpu, settings.worker_count) == (True, 4)


def test_a_new_student_is_trained_as_a_new_model() -> None:
    new = resolve(Hyperparameters(), Method.DISTILLATION, SOME, Machine(), new_model=True).settings
    assert new.learning_rate == resolve(Hyperparameters(), Method.FROM_SCRATCH, SOME, Machine()).settings.learning_rate
