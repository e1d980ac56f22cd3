"""Our multiplication of adapters on CPUs against the plain formula, each token with its own adapter or none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

SLOTS, RANK, IN, SLICES = 3, 4, 8, (6, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "tokens",
    [[0, 0, 0, 0], [11, 11, 11], [0, 11, 12, 13, 13, 0], [13], [12, 0, 0, 0, 11], [0]],
    ids=lambda tokens: "-".join(map(str, tokens)),
)
def test_each_token_gets_its_own_adapter_and_those_without_get_none(tokens: list[int]) -> None:
    """Slow: importing vLLM takes seconds. All slots are taken: then vLLM's own code gives texts without an adapter the last one."""
    from services.generator.vllm_cpu_lora import GroupedPunica

    torch.manual_seed(1)
    punica = GroupedPunica(64, 8, "cpu")
    mapping = SimpleNamespace(index_mapping=tuple(tokens), prompt_mapping=tuple(tokens), is_prefill=True)
    punica.update_metadata(mapping, [11, 12, 13], SLOTS, 100)
    a = tuple(torch.randn(SLOTS, 1, RANK, IN) for _ in SLICES)
    b = tuple(torch.randn(SLOTS, 1, size, RANK) for size in SLICES)
    x, before = torch.randn(len(tokens), IN), torch.randn(len(tokens), sum(SLICES))
    after = before.clone()
    punica.add_lora_linear(after, x, a, b, 0.5, SLICES)
    for row, token in enumerate(tokens):
        expected = before[row].clone()
        if token:
            slot = token - 11
            expected += 0.5 * torch.cat([b[part][slot, 0] @ (a[part][slot, 0] @ x[row]) for part in range(len(SLICES))])
        torch.testing.assert_close(after[row], expected)
