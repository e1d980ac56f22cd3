"""LoRA on a frozen linear layer (Hu et al., 2021, https://arxiv.org/abs/2106.09685), written for speed on bfloat16 weights.

The same arithmetic as PEFT's layer without dropout. The two small matrices are kept in float32 and cast once a step, where PEFT casts the
activations, which are a hundred times as large; and the way back is written by hand, so that it keeps x, x·Aᵀ and nothing else.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


class LowRank(nn.Module):
    """y = x Wᵀ + b + scale · x Aᵀ Bᵀ; A [rank, in] and B [out, rank] are trained. B begins at zero, so y begins as it was."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.weight, self.bias, self.scale = linear.weight, linear.bias, scale
        device = linear.weight.device
        # PEFT's initialisation: Kaiming uniform with a = √5, which is ±1/√in.
        bound = 1 / math.sqrt(linear.in_features)
        start = torch.empty(rank, linear.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_a = nn.Parameter(start.to(device))
        self.lora_b = nn.Parameter(torch.zeros(linear.out_features, rank, device=device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[…, in] -> […, out]"""
        y = _LowRankProduct.apply(x, self.weight, self.lora_a, self.lora_b, self.scale)
        return y if self.bias is None else y + self.bias

    def merged(self) -> torch.Tensor:
        """W with the low-rank part added, in the type of W."""
        return (self.weight.float() + self.scale * (self.lora_b @ self.lora_a).float()).to(self.weight.dtype)


class _LowRankProduct(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes them by position
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        small_a, small_b = a.to(rows.dtype), (b * scale).to(rows.dtype)
        inner = rows @ small_a.t()
        ctx.save_for_backward(rows, inner, weight, small_a, small_b)
        ctx.scale, ctx.shape = scale, x.shape
        return torch.addmm(rows @ weight.t(), inner, small_b.t()).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        rows, inner, weight, small_a, small_b = ctx.saved_tensors
        above = gradients[0].reshape(-1, gradients[0].shape[-1])
        by_inner = above @ small_b
        by_x = torch.addmm(above @ weight, by_inner, small_a).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return by_x, None, (by_inner.t() @ rows).float(), (above.t() @ inner).float() * ctx.scale, None
