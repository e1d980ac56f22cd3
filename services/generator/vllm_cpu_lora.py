"""LoRA on vLLM's CPU workers, without copies that vLLM 0.32 makes for each token, and without one mistake of its own.

vLLM's reference path gathers a copy of the adapter's matrices for every token, before it multiplies. For a prompt of 500 tokens and rank
16 on the default model's layers that is 0.24 GB a layer, 7 GB in all. It also takes -1, which stands for "no adapter", as an index: in a
batch with adapters, texts of the base model get the adapter of the last slot, when that is taken. Here the rows of each adapter are
multiplied together, those without one are left alone, and a batch without adapters does nothing at all.

`vllm_engine.py` names `AdapterCpuWorker` to vLLM, which imports it in its worker process. GPUs have kernels of their own and need none
of this.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform
from vllm.v1.worker.cpu_worker import CPUWorker


class GroupedPunica(PunicaWrapperCPU):
    """Adds each adapter's part to the rows of its own tokens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._groups: list[tuple[int, torch.Tensor | None]] = []
        self._tokens = 0

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Takes over which token belongs to which slot; called once for each step."""
        super().update_metadata(*args, **kwargs)
        indices = self.token_lora_indices
        self._tokens = indices.shape[0]
        slots = torch.unique(indices).tolist()
        whole = len(slots) == 1
        self._groups = [(slot, None if whole else (indices == slot).nonzero().squeeze(1)) for slot in slots if slot >= 0]

    def add_lora_linear(  # noqa: PLR0917 vLLM's signature
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        """Adds scale · (x Aᵀ) Bᵀ to each slice of `y`.

        `x` is (tokens, in), `y` (tokens, sum of the slices), each A (slots, 1, rank, in) and each B (slots, 1, slice, rank).
        """
        if not self._groups:
            return
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        assert x.shape[0] == self._tokens, "a row for each token"
        for slot, rows in self._groups:
            inputs = x if rows is None else x[rows]
            start = 0
            for a, b, size in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                added = (inputs @ a[slot, 0].T) @ b[slot, 0].T
                if scale != 1.0:
                    added *= scale
                part = y[:, start : start + size]
                if rows is None:
                    part += added
                else:
                    part.index_add_(0, rows, added)
                start += size


class AdapterCpuWorker(CPUWorker):
    """vLLM's CPU worker with `GroupedPunica`."""

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """Loads the model; its layers ask the platform for the class to add adapters with."""
        platform: Any = type(current_platform)
        platform.get_punica_wrapper = classmethod(lambda _: f"{__name__}.{GroupedPunica.__name__}")
        super().load_model(*args, **kwargs)
