"""BERT's forward pass over texts laid end to end, without padding.

Everything but attention works on single tokens, so a batch is one matrix of all its tokens; attention goes text by text. On a CPU this
computes no padding and starts few kernels, which is what a short query costs: see docs/decisions/0003-embedding-engine.md for numbers.

Covers `model_type: bert` with absolute positions and GELU (MiniLM, BGE, E5, GTE-base, Snowflake Arctic S and M…).
Source: Devlin et al. 2019, and transformers' modeling_bert.py for the order of operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _Linear:
    """A linear map whose weights lie in oneDNN's own order, brought there once instead of at every call.

    These are the operations that `torch.compile` freezes a CPU model to (torch/_inductor/fx_passes/mkldnn_fusion.py), without its compiler.
    Where torch was built without oneDNN, or the processor cannot multiply bfloat16, it is torch's ordinary linear map.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._reordered = weight.dtype is torch.bfloat16 and torch.backends.mkldnn.is_available() and _onednn_multiplies_bfloat16()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self._reordered else weight
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        if self._reordered:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")  # type: ignore[no-any-return]
        return functional.linear(x, self._weight, self._bias)

    def then_gelu(self, x: Tensor) -> Tensor:
        """The map followed by GELU (the exact one, by the error function), in one pass over the memory."""
        if self._reordered:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "gelu", [], "none")  # type: ignore[no-any-return]
        return functional.gelu(self(x))


def _onednn_multiplies_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@dataclass(frozen=True)
class _Layer:
    """One layer's weights; query, key and value are one matrix, so that they are one multiplication."""

    qkv: _Linear
    attended: _Linear
    attention_norm: tuple[Tensor, Tensor]
    up: _Linear
    down: _Linear
    output_norm: tuple[Tensor, Tensor]


class PackedBert:
    """A `transformers` BertModel's weights with a forward pass of its own."""

    def __init__(self, model: Any) -> None:
        weights: dict[str, Tensor] = model.state_dict()
        self._heads = model.config.num_attention_heads
        self._epsilon = model.config.layer_norm_eps

        def pair(name: str) -> tuple[Tensor, Tensor]:
            return weights[f"{name}.weight"], weights[f"{name}.bias"]

        def layer(number: int) -> _Layer:
            prefix = f"encoder.layer.{number}"
            three = [pair(f"{prefix}.attention.self.{part}") for part in ("query", "key", "value")]
            return _Layer(
                qkv=_Linear(torch.cat([weight for weight, _ in three]), torch.cat([bias for _, bias in three])),
                attended=_Linear(*pair(f"{prefix}.attention.output.dense")),
                attention_norm=pair(f"{prefix}.attention.output.LayerNorm"),
                up=_Linear(*pair(f"{prefix}.intermediate.dense")),
                down=_Linear(*pair(f"{prefix}.output.dense")),
                output_norm=pair(f"{prefix}.output.LayerNorm"),
            )

        self._words = weights["embeddings.word_embeddings.weight"]
        # A text alone is all of segment 0, whose embedding can be added to every position's beforehand.
        self._positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        self._embedding_norm = pair("embeddings.LayerNorm")
        self._layers = [layer(number) for number in range(model.config.num_hidden_layers)]

    @staticmethod
    def covers(config: Any) -> bool:
        """Whether a model with this configuration computes as `forward` does."""
        return (
            config.model_type == "bert"
            and config.hidden_act == "gelu"
            and getattr(config, "position_embedding_type", "absolute") == "absolute"
            and not config.is_decoder
        )

    def forward(self, texts: Sequence[Sequence[int]]) -> list[Tensor]:
        """The last layer's states of each text, shape (tokens, width)."""
        lengths = [len(ids) for ids in texts]
        ids = torch.tensor([token for ids in texts for token in ids])
        places = torch.cat([torch.arange(length) for length in lengths])
        x = self._norm(self._words[ids] + self._positions[places], self._embedding_norm)
        for layer in self._layers:
            x = self._norm(x + layer.attended(self._attend(layer.qkv(x), lengths)), layer.attention_norm)
            x = self._norm(x + layer.down(layer.up.then_gelu(x)), layer.output_norm)
        return list(x.split(lengths))

    def _attend(self, qkv: Tensor, lengths: list[int]) -> Tensor:
        width = qkv.shape[1] // 3
        attended = []
        for text in qkv.view(-1, 3, self._heads, width // self._heads).split(lengths):
            query, key, value = text.permute(1, 2, 0, 3).unsqueeze(1)
            attended.append(functional.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1).reshape(-1, width))
        return torch.cat(attended) if len(attended) > 1 else attended[0]

    def _norm(self, x: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
        return functional.layer_norm(x, (x.shape[-1],), *weights, self._epsilon)
