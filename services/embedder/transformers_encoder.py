"""The models, run by torch with transformers' implementations: an embedding model and a cross-encoder.

Weights are read from safetensors, code from a model folder is never run, and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoModelForSequenceClassification

from services.embedder.batching import groups_of_like_length
from services.embedder.domain import DeviceLost, ModelRefused, TokenizedText, Vectors
from services.embedder.model_folder import EmbeddingFolder, Pooling, require_safetensors
from services.embedder.packed_bert import PackedBert

_LOADING = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}


def choose_device(asked: str) -> str:
    """`cpu` or `cuda`. Raises `ModelRefused` when CUDA is asked for and there is none."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise ModelRefused("device is cuda, but no CUDA device can be used")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def choose_dtype(asked: str, device: str) -> str:
    """`float32` or `bfloat16`; `auto` takes bfloat16 where the hardware multiplies it, for emulated it is slower than float32."""
    if asked != "auto":
        return asked
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capabilities = torch.cpu.get_capabilities()
    return "bfloat16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "float32"


def use_threads(count: int) -> None:
    """Bounds the CPU threads of one computation; 0 leaves torch's choice. Call it in the thread that computes: OpenMP counts by thread."""
    if count:
        torch.set_num_threads(count)


class EmbeddingEncoder:
    """An embedding model: the transformer's last states, pooled and normalised as the folder says."""

    def __init__(self, folder: EmbeddingFolder, device: str, dtype: str) -> None:
        model = AutoModel.from_pretrained(folder.transformer, dtype=getattr(torch, dtype), **_LOADING).eval().to(device)
        self.dimensions: int = model.config.hidden_size
        self._pooling: Pooling = folder.pooling
        self._normalize = folder.normalize
        if device == "cpu" and PackedBert.covers(model.config):
            self._states: Callable[[Sequence[TokenizedText]], list[Tensor]] = _packed(PackedBert(model))
        else:
            self._states = lambda batch: _padded_states(model, batch)

    def encode(self, batch: Sequence[TokenizedText]) -> Vectors:
        """float32, shape (texts, dimensions)."""
        with torch.inference_mode(), _DeviceErrors():
            # Sums over hundreds of tokens need more digits than bfloat16 has.
            pooled = torch.stack([self._pool(states.float()) for states in self._states(batch)])
            vectors: Vectors = (functional.normalize(pooled) if self._normalize else pooled).cpu().numpy()
            return vectors

    def _pool(self, states: Tensor) -> Tensor:
        if self._pooling == "mean":
            return states.mean(0)
        return states[0 if self._pooling == "cls" else -1]


class CrossEncoder:
    """A reranking model: one logit for each pair of query and text."""

    def __init__(self, folder: Path, device: str, dtype: str) -> None:
        require_safetensors(folder)
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=getattr(torch, dtype), **_LOADING)
        if model.config.num_labels != 1:
            raise ModelRefused(f"{folder} has {model.config.num_labels} outputs; a reranking model has one")
        self._model: Any = model.eval().to(device)

    def encode(self, batch: Sequence[TokenizedText]) -> Vectors:
        """float32, shape (texts, 1): logits."""
        with torch.inference_mode(), _DeviceErrors():
            logits = [self._model(**inputs).logits.float() for inputs in _padded_inputs(self._model, batch)]
            values: Vectors = torch.cat(logits).cpu().numpy().astype(np.float32)
            return values


class _DeviceErrors:
    """Tells errors of a lost device, after which every call fails, from errors of one batch such as too little memory."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, torch.AcceleratorError) and not isinstance(error, torch.OutOfMemoryError):
            raise DeviceLost(str(error).splitlines()[0]) from error


def _packed(bert: PackedBert) -> Callable[[Sequence[TokenizedText]], list[Tensor]]:
    return lambda batch: bert.forward([text.ids for text in batch])


def _padded_states(model: Any, batch: Sequence[TokenizedText]) -> list[Tensor]:
    states: list[Tensor] = []
    for inputs in _padded_inputs(model, batch):
        hidden = model(**inputs).last_hidden_state
        states += [row[:length] for row, length in zip(hidden, inputs["attention_mask"].sum(1).tolist(), strict=True)]
    return states


def _padded_inputs(model: Any, batch: Sequence[TokenizedText]) -> list[dict[str, Tensor]]:
    """The batch, which ascends in length, as few padded matrices with little padding."""
    return [_matrix(model, batch[group]) for group in groups_of_like_length([len(text.ids) for text in batch])]


def _matrix(model: Any, texts: Sequence[TokenizedText]) -> dict[str, Tensor]:
    width = max(len(text.ids) for text in texts)
    padding = model.config.pad_token_id or 0

    def filled(rows: Sequence[Sequence[int]], value: int) -> Tensor:
        return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], device=model.device)

    inputs = {
        "input_ids": filled([text.ids for text in texts], padding),
        "attention_mask": filled([[1] * len(text.ids) for text in texts], 0),
    }
    if texts[0].type_ids is not None and getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = filled([text.type_ids or () for text in texts], 0)
    return inputs
