"""The loss on the tokens of responses, and on nothing else.

The vocabulary projection is computed at the positions before a token of a response only: with 49,152 words and 20 tokens of response after
400 of prompt it would else be a fifth of all the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from services.trainer.packing import Packed, hidden_states

_ROWS = 512
"""Rows projected at once: 512 of 49,152 logits in float32 are 100 MB."""


@dataclass(frozen=True)
class LossSums:
    """Sums over the tokens of responses, each times its example's weight. `objective` is what is minimised and has the gradient."""

    objective: torch.Tensor
    cross_entropy: torch.Tensor


def response_loss(model: Any, packed: Packed) -> LossSums:
    """Cross-entropy of the tokens of the responses, in nats."""
    hidden = hidden_states(model, packed)
    pieces = [_in_pieces(_cross_entropy, model, *rows) for rows in _split(hidden, packed.targets, packed.weights)]
    total = torch.stack(pieces).sum()
    return LossSums(total, total.detach())


def distillation_loss(model: Any, teacher: Any, packed: Packed, temperature: float, alpha: float) -> LossSums:
    """(1 − alpha) · cross-entropy + alpha · T² · KL(teacher ‖ student), both at temperature T (Hinton, Vinyals and Dean, 2015,
    https://arxiv.org/abs/1503.02531)."""
    with torch.no_grad():
        wanted = hidden_states(teacher, packed)
    hidden = hidden_states(model, packed)

    def both(model: Any, own: torch.Tensor, wanted: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        logits = model.lm_head(own).float()
        with torch.no_grad():
            probabilities = F.softmax(teacher.lm_head(wanted).float() / temperature, -1)
        divergence = F.kl_div(F.log_softmax(logits / temperature, -1), probabilities, reduction="none").sum(-1)
        entropy = F.cross_entropy(logits, targets, reduction="none")
        return torch.stack(((divergence * weights).sum(), (entropy * weights).sum()))

    pieces = [_in_pieces(both, model, *rows) for rows in _split(hidden, wanted, packed.targets, packed.weights)]
    divergence, entropy = torch.stack(pieces).sum(0)
    return LossSums((1 - alpha) * entropy + alpha * temperature**2 * divergence, entropy.detach())


def _cross_entropy(model: Any, hidden: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (F.cross_entropy(model.lm_head(hidden).float(), targets, reduction="none") * weights).sum()


def _split(*tensors: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    return list(zip(*(tensor.split(_ROWS) for tensor in tensors), strict=True))


def _in_pieces(function: Any, model: Any, hidden: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    # A full piece is computed again on the way back rather than kept: logits are by far the largest thing there is.
    if hidden.shape[0] == _ROWS and torch.is_grad_enabled():
        return checkpoint(function, model, hidden, *others, use_reentrant=False)
    return function(model, hidden, *others)
