"""The losses, the attention and the LoRA beside the plainest way to compute the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from tiny_training import make_model, make_samples

from services.trainer import losses, packing
from services.trainer.batching import MicroBatch, micro_batches
from services.trainer.compression import GROUP, pruned, quantized
from services.trainer.exchanging import exchanged
from services.trainer.losses import distillation_loss, response_loss
from services.trainer.low_rank import LowRank
from services.trainer.models import load
from services.trainer.packing import pack
from services.trainer.token_samples import TokenSample


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The same model, with our attention and with transformers' own; float32."""
    from transformers import AutoModelForCausalLM

    packing.register()
    folder = make_model(tmp_path_factory.mktemp("model") / "base")
    return load(str(folder), torch.float32, "cpu"), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def naive(model: Any, samples: list[TokenSample]) -> torch.Tensor:
    """The sum of the losses, one example at a time, over the whole vocabulary at every position."""
    total = torch.zeros(())
    for sample in samples:
        ids = torch.tensor([[*sample.prompt_ids, *sample.response_ids]])
        logits = model(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1].float()
        total = total + sample.weight * F.cross_entropy(logits, torch.tensor(sample.response_ids), reduction="sum")
    return total


def gradients(model: Any, loss: torch.Tensor) -> list[torch.Tensor]:
    """Of all weights."""
    model.zero_grad()
    loss.backward()
    return [weight.grad.clone() for weight in model.parameters()]


@pytest.mark.parametrize("longest_written_out", [1024, 0])
def test_a_packed_micro_batch_has_the_loss_and_the_gradient_of_its_examples_one_by_one(
    models: tuple[Any, Any], longest_written_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_MAX_WRITTEN_OUT", longest_written_out)
    ours, plain = models
    samples = [TokenSample(sample.prompt_ids, sample.response_ids, 0.5 + number) for number, sample in enumerate(make_samples(5))]
    (batch,) = micro_batches(samples, 10_000)
    assert batch.shared >= 20
    loss, wanted = response_loss(ours, pack(batch)), naive(plain, samples)
    assert loss.objective.item() == pytest.approx(wanted.item(), rel=1e-4)
    for own, other in zip(gradients(ours, loss.objective), gradients(plain, wanted), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-4)


def test_without_a_common_beginning_it_is_the_same(models: tuple[Any, Any]) -> None:
    samples = make_samples(3)
    loss = response_loss(models[0], pack(MicroBatch(tuple(samples), 0)))
    assert loss.objective.item() == pytest.approx(naive(models[1], samples).item(), rel=1e-4)


def test_long_responses_are_projected_in_pieces(models: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    samples = make_samples(4)
    packed = pack(MicroBatch(tuple(samples), 0))
    whole = response_loss(models[0], packed).objective
    wanted = gradients(models[0], whole)
    monkeypatch.setattr(losses, "_ROWS", 5)
    pieces = response_loss(models[0], packed).objective
    assert pieces.item() == pytest.approx(whole.item(), rel=1e-5)
    for own, other in zip(gradients(models[0], pieces), wanted, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-5)


def test_distillation_is_hintons_formula(models: tuple[Any, Any], tmp_path: Path) -> None:
    teacher = load(str(make_model(tmp_path / "teacher", seed=5)), torch.float32, "cpu")
    sample, temperature, alpha = make_samples(1)[0], 3.0, 0.7
    sums = distillation_loss(models[0], teacher, pack(MicroBatch((sample,), 0)), temperature, alpha)
    packed = pack(MicroBatch((sample,), 0))
    with torch.no_grad():
        student_logits = models[0].lm_head(packing.hidden_states(models[0], packed))
        teacher_logits = teacher.lm_head(packing.hidden_states(teacher, packed))
    p = torch.softmax(teacher_logits / temperature, -1)
    divergence = (p * (p.log() - torch.log_softmax(student_logits / temperature, -1))).sum()
    entropy = F.cross_entropy(student_logits, packed.targets, reduction="sum")
    assert sums.objective.item() == pytest.approx((0.3 * entropy + 0.7 * 9 * divergence).item(), rel=1e-4)
    assert sums.cross_entropy.item() == pytest.approx(entropy.item(), rel=1e-4)


def test_a_low_rank_layer_is_its_formula_with_its_gradients() -> None:
    linear = nn.Linear(24, 40).requires_grad_(False)
    layer = LowRank(linear, 4, 2.0, torch.Generator().manual_seed(0))
    x = torch.randn(3, 5, 24, requires_grad=True)
    torch.testing.assert_close(layer(x), linear(x))
    layer.lora_b.data.normal_()
    above = torch.randn(3, 5, 40)
    (layer(x) * above).sum().backward()
    own = [x.grad, layer.lora_a.grad, layer.lora_b.grad]
    a, b, y = (tensor.detach().clone().requires_grad_() for tensor in (layer.lora_a, layer.lora_b, x))
    wanted = linear(y) + 2.0 * (y @ a.T) @ b.T
    torch.testing.assert_close(layer(x), wanted)
    (wanted * above).sum().backward()
    for one, other in zip(own, (y.grad, a.grad, b.grad), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(y @ layer.merged().T + linear.bias, wanted)


def test_quantised_weights_have_few_values_in_a_group_and_are_near() -> None:
    weight = torch.randn(3, 100)
    rounded = quantized(weight, 4)
    for row in rounded:
        assert len(row[:GROUP].unique()) <= 15
    assert (rounded - weight).abs().max() <= weight.abs().max() / 7 / 2 + 1e-6
    torch.testing.assert_close(quantized(rounded, 4), rounded)


def test_pruning_takes_the_smallest_weights() -> None:
    weight = torch.randn(8, 8)
    left = pruned(weight, 0.25)
    assert int((left == 0).sum()) == 16
    assert weight[left == 0].abs().max() <= weight[left != 0].abs().min()


def test_exchanged_examples_have_other_responses() -> None:
    samples = make_samples(12)
    others = exchanged(samples, 3)
    assert [sample.prompt_ids for sample in others] == [sample.prompt_ids for sample in samples]
    assert sorted(sample.response_ids for sample in others) == sorted(sample.response_ids for sample in samples)
    assert sum(own.response_ids == other.response_ids for own, other in zip(samples, others, strict=True)) <= 2
    assert exchanged(samples[:1], 3) == samples[:1]
