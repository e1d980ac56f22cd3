"""Writes what a training made: an adapter as PEFT and vLLM read it, or a whole model as transformers and vLLM read it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from fsspec.core import url_to_fs
from safetensors.torch import save_file

from services.trainer.low_rank import LowRank
from services.trainer.models import ALPHA_PER_RANK, decoder_layers

_BESIDE_WEIGHTS = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json",
)  # fmt: skip


def write_adapter(model: Any, base_folder: str, url: str) -> None:
    """Puts the LoRA of `model` to `url`: two files, A and B in float32, the base model named without its place."""
    from peft import LoraConfig  # brings most of transformers

    layers = decoder_layers(model)
    rank = next(iter(layers.values())).lora_a.shape[0]
    config = LoraConfig(
        r=rank,
        lora_alpha=round(ALPHA_PER_RANK * rank),
        target_modules=sorted({name.rsplit(".", 1)[-1] for name in layers}),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=Path(base_folder).name,
        inference_mode=True,
    )
    tensors = {}
    for name, layer in layers.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.lora_a.detach().cpu().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.lora_b.detach().cpu().contiguous()
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        save_file(tensors, f"{folder}/adapter_model.safetensors", metadata={"format": "pt"})
        _put(Path(folder), url)


def write_model(model: Any, base_folder: str, url: str, *, merge: bool = True) -> None:
    """Puts the whole model to `url`, a LoRA merged in or left out, with the base model's tokenizer and chat template, as bfloat16."""
    layers = {name: layer for name, layer in decoder_layers(model).items() if isinstance(layer, LowRank)}
    tensors = {}
    for name, weight in model.state_dict().items():
        if name.endswith((".lora_a", ".lora_b")) or (name == "lm_head.weight" and model.config.tie_word_embeddings):
            continue
        layer = layers.get(name.removesuffix(".weight"))
        whole = layer.merged() if layer is not None and merge else weight
        tensors[name] = whole.detach().to("cpu", torch.bfloat16).contiguous()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = type(model.config).from_dict(model.config.to_dict())
        config.dtype = torch.bfloat16
        config.save_pretrained(folder)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        for name in _BESIDE_WEIGHTS:
            if (Path(base_folder) / name).is_file():
                shutil.copyfile(Path(base_folder) / name, folder / name)
        _put(folder, url)


def _put(folder: Path, url: str) -> None:
    storage, root = url_to_fs(url, auto_mkdir=True)
    if storage.exists(root):
        storage.rm(root, recursive=True)
    storage.makedirs(root, exist_ok=True)
    for path in sorted(folder.iterdir()):
        # PEFT adds a page about itself to what it saves.
        if path.is_file() and path.name != "README.md":
            storage.put_file(str(path), f"{root}/{path.name}")
