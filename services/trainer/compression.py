"""What is done to a model before it is repaired: weights rounded to few bits, or the smallest of them set to zero.

The weights stay floating-point numbers of the same type, so that the model runs everywhere; what is measured is the damage.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from services.trainer.domain import Compression

GROUP = 64
"""Weights along the input that share one scale."""


def compress(layers: Iterable[nn.Linear], compression: Compression) -> None:
    """Changes the weights of `layers` in place."""
    for layer in layers:
        with torch.no_grad():
            if compression.quantize_bits:
                layer.weight.copy_(quantized(layer.weight, compression.quantize_bits))
            else:
                layer.weight.copy_(pruned(layer.weight, compression.prune_share))


def quantized(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Round to nearest, symmetric, in groups of 64 along the input, each with the scale that makes its largest weight the largest number:
    for 4 bits, -7 … 7 times the scale."""
    outputs, inputs = weight.shape
    padded = torch.nn.functional.pad(weight.float(), (0, -inputs % GROUP)).view(outputs, -1, GROUP)
    largest = 2 ** (bits - 1) - 1
    scale = padded.abs().amax(-1, keepdim=True).clamp(min=1e-12) / largest
    return ((padded / scale).round() * scale).view(outputs, -1)[:, :inputs].to(weight.dtype)


def pruned(weight: torch.Tensor, share: float) -> torch.Tensor:
    """The `share` of the weights of the layer that are smallest in magnitude are zero."""
    count = int(weight.numel() * share)
    if not count:
        return weight.clone()
    smallest = weight.float().abs().flatten().argsort(stable=True)[:count]
    flat = weight.flatten().clone()
    flat[smallest] = 0
    return flat.view_as(weight)
