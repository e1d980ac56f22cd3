"""The recipe on a tiny model: every method learns, a seed repeats, a stopped run goes on as if it had not been stopped."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tiny_training import make_model, make_plan, make_samples

from services.trainer import checkpoints, recipe
from services.trainer.domain import Architecture, Compression, Distillation, Method, Step, TrainingFailed
from services.trainer.pacing import has_diverged, learning_rate, validation_steps
from services.trainer.plan import Outcome, Plan
from services.trainer.recipe import train
from services.trainer.token_samples import TokenSample, write_samples
from services.trainer.training_events import Resumed, Stepped, Stopped, TrainingEvent
from services.trainer.world import World

WORLD = World(threads=1)
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "full": {"method": Method.FULL, "learning_rate": 3e-3},
    "scratch": {
        "method": Method.FROM_SCRATCH, "learning_rate": 3e-3, "architecture": Architecture(hidden_size=32, layer_count=1, head_count=2),
    },
    "scratch of a teacher's layers": {
        "method": Method.FROM_SCRATCH, "learning_rate": 3e-3, "architecture": Architecture(layer_count=1, initialization="teacher_layers"),
    },
    "distillation": {"method": Method.DISTILLATION, "distillation": Distillation(alpha=0.3)},
    "distillation into a new model": {
        "method": Method.DISTILLATION, "learning_rate": 3e-3, "distillation": Distillation(alpha=0.3),
        "architecture": Architecture(layer_count=1),
    },
    "repair of quantised": {"method": Method.REPAIR, "compression": Compression(quantize_bits=3)},
    "repair of pruned": {"method": Method.REPAIR, "compression": Compression(prune_share=0.5)},
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_every_method_lowers_the_loss_and_fills_in_what_came_of_it(name: str, tmp_path: Path) -> None:
    plan = make_plan(tmp_path, **METHODS[name])
    outcome = train(plan, WORLD)
    assert outcome.final_validation_loss < 0.9 * outcome.initial_validation_loss
    assert outcome.final_training_loss < 0.9 * outcome.initial_validation_loss
    assert math.isfinite(outcome.shuffled_validation_loss)
    assert not outcome.diverged
    assert [step.step for step in outcome.steps] == list(range(1, len(outcome.steps) + 1))
    assert outcome.steps[-1].validation_loss == outcome.final_validation_loss
    assert outcome.tokens == 2 * sum(sample.length for sample in make_samples(96))
    assert (outcome.training_count, outcome.validation_count) == (96, 16)
    assert outcome.worker_seconds > 0
    assert outcome.trainable_parameters > 0
    assert (outcome.original_validation_loss is None) == (plan.method is not Method.REPAIR)
    files = {path.name for path in Path(outcome.result_url).iterdir()}
    if outcome.kind == "adapter":
        assert files == {"adapter_model.safetensors", "adapter_config.json"}
    else:
        assert files == {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"}


def test_peft_computes_with_the_adapter_what_was_trained_and_the_merged_model_too(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plan = make_plan(tmp_path, merge=True, learning_rate=3e-2)
    outcome = train(plan, WORLD)
    config = json.loads((Path(outcome.result_url) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"
    assert config["r"] == 8
    base = AutoModelForCausalLM.from_pretrained(plan.base_folder, dtype=torch.float32)
    models = [
        PeftModel.from_pretrained(base, outcome.result_url),
        AutoModelForCausalLM.from_pretrained(outcome.merged_url, dtype=torch.float32),
    ]
    for model in models:
        total, count = 0.0, 0
        for sample in make_samples(16, seed=2):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[*sample.prompt_ids, *sample.response_ids]])).logits[
                    0, len(sample.prompt_ids) - 1 : -1
                ]
            total += torch.nn.functional.cross_entropy(logits, torch.tensor(sample.response_ids), reduction="sum").item()
            count += len(sample.response_ids)
        assert total / count == pytest.approx(outcome.final_validation_loss, rel=0.02)


def test_a_repair_keeps_the_zeros_beside_the_merged_result(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    plan = make_plan(tmp_path, method=Method.REPAIR, compression=Compression(prune_share=0.5))
    outcome = train(plan, WORLD)
    assert outcome.original_validation_loss is not None
    weight = load_file(f"{plan.output_url}/compressed/model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert int((weight == 0).sum()) == weight.numel() // 2
    assert (Path(plan.output_url) / "repair" / "adapter_model.safetensors").is_file()


def losses(outcome: Outcome) -> list[tuple[float, float | None]]:
    """Of every step."""
    return [(step.training_loss, step.validation_loss) for step in outcome.steps]


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(tmp_path: Path) -> None:
    first = train(make_plan(tmp_path, "one"), WORLD)
    assert losses(first) == losses(train(make_plan(tmp_path, "two"), WORLD))
    assert losses(first) != losses(train(make_plan(tmp_path, "three", seed=14), WORLD))


def test_a_stopped_run_goes_on_exactly_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    whole = train(make_plan(tmp_path, "whole"), WORLD)
    plan, seen = make_plan(tmp_path, "stopped"), []

    def hear(event: TrainingEvent) -> None:
        seen.append(event)

    with pytest.raises(Stopped):
        train(plan, WORLD, hear, lambda: sum(isinstance(event, Stepped) for event in seen) == 4)
    assert checkpoints.steps(f"{plan.output_url}/checkpoints")[-1] == 5
    seen.clear()
    resumed = train(plan, WORLD, hear)
    assert [event.step for event in seen if isinstance(event, Resumed)] == [5]
    assert losses(resumed) == losses(whole)
    assert resumed.final_validation_loss == whole.final_validation_loss
    assert (resumed.tokens, resumed.final_training_loss) == (whole.tokens, whole.final_training_loss)


def test_a_checkpoint_of_another_plan_is_not_taken(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    train(plan, WORLD)
    seen: list[TrainingEvent] = []
    train(plan.with_settings(learning_rate=1e-3), WORLD, seen.append)
    assert not any(isinstance(event, Resumed) for event in seen)


def test_a_learning_rate_far_too_high_is_noticed_early(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, method=Method.FULL, learning_rate=30.0, epochs=8, learning_rate_schedule="constant", warmup_share=0.0)
    outcome = train(plan, WORLD)
    assert outcome.diverged
    assert len(outcome.steps) < 40


def test_weights_of_examples_weigh_the_loss(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    samples = [replace(sample, weight=0.0 if sample.prompt_ids[-1] % 2 else 2.0) for sample in make_samples(96)]
    write_samples(Path(plan.data_url) / "training.safetensors", samples)
    assert train(plan, WORLD).training_count == sum(sample.weight > 0 for sample in samples)


def test_examples_longer_than_the_context_are_left_out_and_nothing_left_is_an_error(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    write_samples(Path(plan.data_url) / "training.safetensors", [TokenSample((5,) * 300, (6, 2))])
    with pytest.raises(TrainingFailed, match="no example left"):
        train(plan, WORLD)


def test_dimensions_that_do_not_go_together_are_said_in_plain_words(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, method=Method.FROM_SCRATCH, architecture=Architecture(hidden_size=30, head_count=4))
    with pytest.raises(TrainingFailed, match="30 cannot be shared evenly by 4"):
        train(plan, WORLD)


def test_a_teacher_may_lie_at_a_url(tmp_path: Path) -> None:
    teacher = make_model(tmp_path / "teacher", layers=3, seed=4)
    plan = make_plan(tmp_path, method=Method.DISTILLATION, teacher_folder=f"file://{teacher}", epochs=0.2)
    assert train(plan, WORLD).kind == "adapter"


def test_a_teacher_with_another_vocabulary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiny_training.VOCABULARY", 64)
    teacher = make_model(tmp_path / "teacher")
    monkeypatch.undo()
    plan = make_plan(tmp_path, method=Method.DISTILLATION, teacher_folder=str(teacher))
    with pytest.raises(TrainingFailed, match="one tokenizer"):
        train(plan, WORLD)


def test_the_learning_rate_rises_and_falls(tmp_path: Path) -> None:
    settings = replace(make_plan(tmp_path).settings, learning_rate=1.0, warmup_share=0.2)
    linear = [learning_rate(step, 10, settings) for step in range(1, 11)]
    assert linear == pytest.approx([1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert learning_rate(10, 10, replace(settings, learning_rate_schedule="constant")) == 1
    assert 0 < learning_rate(10, 10, replace(settings, learning_rate_schedule="cosine")) < 0.05


def test_validation_is_done_more_often_when_it_costs_little() -> None:
    assert validation_steps(100, 200_000, 500) == {25, 50, 75, 100}
    assert validation_steps(100, 1_000, 500) == {50, 100}
    assert validation_steps(1, 500, 500) == {1}


def test_divergence_is_a_loss_far_above_where_it_began() -> None:
    def steps(values: list[float], validation: float | None = None) -> list[Step]:
        made = [Step(number, value, 1e-3, 1.0, 1.0) for number, value in enumerate(values, 1)]
        return [*made[:-1], replace(made[-1], validation_loss=validation)]

    assert not has_diverged(steps([2.0] * 12), 2.0)
    assert has_diverged(steps([2.0] * 5 + [4, 4, 4, 4, 4] + [6, 7, 8, 9, 9]), 2.0)
    assert not has_diverged(steps([2.0] * 5 + [9, 9, 9, 9, 9] + [6, 6, 6, 6, 6]), 2.0)
    assert has_diverged(steps([2.0] * 3, validation=4.5), 2.0)
    assert has_diverged(steps([2.0] * 3, validation=math.nan), 2.0)


def test_the_command_line_says_where_each_setting_is_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan: Plan = make_plan(tmp_path)
    arguments = ["--base", plan.base_folder, "--data", plan.data_url, "--output", str(tmp_path / "by-hand"), "--epochs", "1"]
    assert recipe.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "epochs = 1.0 (given)" in printed
    assert "adapter in" in printed
