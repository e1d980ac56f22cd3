"""Turns a micro-batch into tensors without padding, and lets attention see each example alone.

    ids          [shared beginning][rest of example 1][rest of example 2] …        one row of T tokens
    positions    0 … shared-1      shared …           shared …
    rows         the T positions whose next token is of a response

Attention is done per example over the shared beginning and its own rest. On a CPU it is written out as two matrix products and a softmax:
for sequences of a few hundred tokens in bfloat16 that is three times as quick as torch's flash kernel (docs/decisions/0012-training.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

from services.trainer.batching import MicroBatch
from services.trainer.domain import TrainingFailed

ATTENTION = "corella_packed"
"""Name under which models are built with it (`attn_implementation`)."""

_MAX_WRITTEN_OUT = 1024
"""Longer examples go to torch's kernel: the written-out form keeps a length² matrix for each head."""


@dataclass(frozen=True)
class Packed:
    """A micro-batch as tensors. T tokens computed, R tokens of responses."""

    ids: torch.Tensor
    """[1, T]"""
    positions: torch.Tensor
    """[1, T]"""
    rows: torch.Tensor
    """[R], where in T the token before each token of a response lies."""
    targets: torch.Tensor
    """[R], the tokens of the responses."""
    weights: torch.Tensor
    """[R], float32."""
    shared: int
    lengths: tuple[int, ...]
    """Of the examples without the shared beginning."""


def pack(batch: MicroBatch, device: str | torch.device = "cpu") -> Packed:
    """The tensors of a micro-batch."""
    shared = batch.shared
    ids = list(batch.samples[0].prompt_ids[:shared])
    positions = list(range(shared))
    rows: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for sample in batch.samples:
        before_response = len(ids) + len(sample.prompt_ids) - shared - 1
        ids += (*sample.prompt_ids[shared:], *sample.response_ids)
        positions += range(shared, sample.length)
        rows += range(before_response, before_response + len(sample.response_ids))
        targets += sample.response_ids
        weights += [sample.weight] * len(sample.response_ids)
    return Packed(
        torch.tensor([ids], device=device),
        torch.tensor([positions], device=device),
        torch.tensor(rows, device=device),
        torch.tensor(targets, device=device),
        torch.tensor(weights, dtype=torch.float32, device=device),
        shared,
        tuple(sample.length - shared for sample in batch.samples),
    )


def hidden_states(model: Any, packed: Packed) -> torch.Tensor:
    """What the model computes before its vocabulary projection, at `packed.rows`: [R, width]. The model was built with `ATTENTION`."""
    output = model.model(input_ids=packed.ids, position_ids=packed.positions, use_cache=False, shared=packed.shared, lengths=packed.lengths)
    return output.last_hidden_state[0].index_select(0, packed.rows)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    shared: int,
    lengths: tuple[int, ...],
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in the form transformers calls: query [1, heads, T, d], key and value [1, key-value heads, T, d] -> [1, T, heads, d]."""
    _refuse_unknown(other, key.shape[2])
    # Under autocast the rotation of queries and keys leaves them in float32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    pieces = ([shared] if shared else []) + list(lengths)
    queries, keys, values = query.split(pieces, 2), key.split(pieces, 2), value.split(pieces, 2)
    outputs = []
    for number, (own_query, own_key, own_value) in enumerate(zip(queries, keys, values, strict=True)):
        if shared and number:
            own_key, own_value = torch.cat((keys[0], own_key), 2), torch.cat((values[0], own_value), 2)  # noqa: PLW2901
        outputs.append(_causal(own_query, own_key, own_value, scaling))
    return torch.cat(outputs, 2).transpose(1, 2), None


def _refuse_unknown(options: dict[str, Any], tokens: int) -> None:
    """Some families' attention has more to it than is done here; better not trained than trained wrongly."""
    window = options.get("sliding_window")
    if options.get("softcap") or options.get("s_aux") is not None or (window and window < tokens):
        raise TrainingFailed("The attention of this model family (sliding windows, sinks or capped scores) cannot be trained here.")


def _causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    """The last query sees all keys, the one before all but the last, and so on."""
    length, total = query.shape[2], key.shape[2]
    if query.is_cpu and total <= _MAX_WRITTEN_OUT:
        return _WrittenOut.apply(query, key, value, scaling, _future(length, total))
    if length == total:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)
    seen = torch.ones(length, total, dtype=torch.bool, device=query.device).tril(total - length)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scaling, enable_gqa=True)


class _WrittenOut(torch.autograd.Function):
    """softmax(q kᵀ · scaling + future) v, the softmax in float32; keeps the probabilities in the type of the query."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes them by position
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, future: torch.Tensor
    ) -> torch.Tensor:
        _, heads, length, width = query.shape
        groups, total = key.shape[1], key.shape[2]
        # Heads that share keys are put below one another: one matrix product for each group.
        rows = (query.reshape(groups, -1, width)) * scaling
        scores = (rows @ key[0].transpose(1, 2)).view(heads, length, total).float()
        probabilities = torch.softmax(scores.add_(future), -1).to(query.dtype).view(groups, -1, total)
        output = probabilities @ value[0]
        ctx.save_for_backward(rows, key, value, probabilities, output)
        ctx.scaling = scaling
        return output.view(1, heads, length, width)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        rows, key, value, probabilities, output = ctx.saved_tensors
        shape = gradients[0].shape
        above = gradients[0].reshape(rows.shape)
        by_value = probabilities.transpose(1, 2) @ above
        # The mean of the gradient under the probabilities, from the output: `width` products instead of `total` (Dao et al., 2022).
        mean = (above.float() * output.float()).sum(-1, keepdim=True).to(rows.dtype)
        by_score = (above @ value[0].transpose(1, 2)).sub_(mean).mul_(probabilities)
        by_key = by_score.transpose(1, 2) @ rows
        by_query = (by_score @ key[0]) * ctx.scaling
        return by_query.view(shape), by_key.unsqueeze(0), by_value.unsqueeze(0), None, None


@lru_cache(maxsize=64)
def _future(length: int, total: int) -> torch.Tensor:
    """[length, total]: 0 where a query may look, minus infinity where it may not."""
    return torch.full((length, total), float("-inf")).triu_(total - length + 1)


def register() -> None:
    """Makes `ATTENTION` known to transformers, with no mask: who sees whom is decided above."""
    AttentionInterface.register(ATTENTION, packed_attention)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
