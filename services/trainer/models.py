"""Builds the model a method trains: the base model with a LoRA, the base model whole, or a new one of other dimensions.

    method         weights             trained                    arithmetic
    LoRA, repair   frozen, bfloat16    A and B, float32           bfloat16
    full, new      float32             all                        bfloat16 where it pays (autocast), results kept in float32

Any model of transformers will do whose attention can be exchanged and whose decoder is `model.model` with `lm_head` after it: Llama, Qwen,
Mistral and their like.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import torch
from fsspec.core import url_to_fs
from torch import nn

from services.trainer.domain import Architecture, Method, TrainingFailed
from services.trainer.low_rank import LowRank
from services.trainer.packing import ATTENTION, register
from services.trainer.plan import Plan

ALPHA_PER_RANK = 2.0
"""LoRA's alpha over its rank, which is its scale."""


@dataclass(frozen=True)
class Built:
    """A model to train. `trained` are its weights that change, by name."""

    model: Any
    trained: dict[str, nn.Parameter]
    kind: Literal["adapter", "model"]
    teacher: Any = None
    autocast: bool = False

    def arithmetic(self) -> AbstractContextManager[Any]:
        """The context to compute in."""
        if not self.autocast:
            return nullcontext()
        return torch.autocast(next(iter(self.trained.values())).device.type, torch.bfloat16)


def build(plan: Plan, device: str) -> Built:
    """The model of a plan, repeatable by its seed. Compression is not applied yet.

    Raises `TrainingFailed` for a folder that holds no such model and for dimensions that do not go together.
    """
    register()
    quick = compute_type(device)
    teacher = None
    if plan.method is Method.DISTILLATION:
        teacher = load(plan.teacher_folder or plan.base_folder, quick, device)
        teacher.requires_grad_(False)
    if plan.method is Method.FROM_SCRATCH or (plan.method is Method.DISTILLATION and plan.architecture != Architecture()):
        model = _new(plan, teacher).to(device)
        kind: Literal["adapter", "model"] = "model"
    elif plan.method is Method.FULL:
        model = load(plan.base_folder, torch.float32, device)
        kind = "model"
    else:
        model = load(plan.base_folder, quick, device)
        model.requires_grad_(False)
        add_low_rank(model, plan.settings.lora_rank, plan.settings.seed)
        kind = "adapter"
    if teacher is not None and teacher.config.vocab_size != model.config.vocab_size:
        raise TrainingFailed(
            f"The teacher knows {teacher.config.vocab_size:,} tokens and the student {model.config.vocab_size:,}: they need one tokenizer."
        )
    # Not `train()`: there is nothing in these models that differs but dropout, and a LoRA for a few hundred examples is better without.
    model.eval()
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    return Built(model, trained, kind, teacher, autocast=kind == "model" and quick is torch.bfloat16)


def load(folder: str, dtype: torch.dtype, device: str) -> Any:
    """A model from a folder, or from the URL of one: safetensors only, no code of its own."""
    from transformers import AutoModelForCausalLM  # brings most of transformers

    try:
        with _on_disk(folder) as place:
            model: Any = AutoModelForCausalLM.from_pretrained(
                place, dtype=dtype, attn_implementation=ATTENTION, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
    except (OSError, ValueError) as error:
        raise TrainingFailed("The folder of the base model or of the teacher does not hold a model that can be trained.") from error
    return model.to(device)


@contextmanager
def _on_disk(folder: str) -> Iterator[str]:
    """The folder itself, or a copy of what a model needs of the one at a URL, for as long as the context lasts."""
    if "://" not in folder:
        yield folder
        return
    storage, root = url_to_fs(folder)
    with tempfile.TemporaryDirectory() as copy:
        for path in storage.ls(root, detail=False):
            name = PurePosixPath(path).name
            if name.endswith((".json", ".safetensors")):
                storage.get_file(path, f"{copy}/{name}")
        yield copy


def context_tokens(folder: str) -> int:
    """The longest example a model takes."""
    from transformers import AutoConfig  # brings much of transformers

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise TrainingFailed("The folder of the base model does not hold a model that can be trained.") from error
    return int(getattr(config, "max_position_embeddings", None) or 2**31)


def compute_type(device: str) -> torch.dtype:
    """bfloat16 where the processor multiplies it faster than float32, else float32."""
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
    except OSError:
        flags = []
    return torch.bfloat16 if {"avx512_bf16", "amx_bf16"} & set(flags) else torch.float32


def decoder_layers(model: Any) -> dict[str, Any]:
    """The linear layers of attention and feed-forward, with or without a LoRA, by name."""
    return {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear | LowRank) and ".layers." in f".{name}"}


def add_low_rank(model: Any, rank: int, seed: int) -> None:
    """Puts a LoRA on every linear layer of the decoder."""
    generator = torch.Generator().manual_seed(seed)
    for name, linear in decoder_layers(model).items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, LowRank(linear, rank, ALPHA_PER_RANK, generator))


def _new(plan: Plan, teacher: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM  # brings most of transformers

    config = AutoConfig.from_pretrained(plan.base_folder, local_files_only=True, trust_remote_code=False)
    for name, value in dimensions(config, plan.architecture).items():
        setattr(config, name, value)
    torch.manual_seed(plan.settings.seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=ATTENTION, trust_remote_code=False)
    if plan.architecture.initialization == "teacher_layers":
        take_layers(model, teacher if teacher is not None else load(plan.teacher_folder or plan.base_folder, torch.float32, "cpu"))
    return model


def dimensions(config: Any, wanted: Architecture) -> dict[str, int]:
    """The dimensions of a new model of the family of `config`; what is not said is in proportion. Raises `TrainingFailed` if impossible."""
    hidden = wanted.hidden_size or config.hidden_size
    base_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if hidden == config.hidden_size and wanted.head_count in {0, config.num_attention_heads}:
        heads, width = config.num_attention_heads, base_width
    else:
        in_proportion = max(1, round(config.num_attention_heads * hidden / config.hidden_size))
        heads = wanted.head_count or max(count for count in range(1, in_proportion + 1) if hidden % (2 * count) == 0 or count == 1)
        if hidden % (2 * heads):
            raise TrainingFailed(f"A width of {hidden} cannot be shared evenly by {heads} attention heads of an even width.")
        width = hidden // heads
    shared = max(1, heads * config.num_key_value_heads // config.num_attention_heads)
    key_values = wanted.key_value_head_count or max(count for count in range(1, shared + 1) if heads % count == 0)
    if heads % key_values:
        raise TrainingFailed(f"{heads} attention heads cannot share {key_values} heads of keys and values evenly.")
    return {
        "hidden_size": hidden,
        "intermediate_size": wanted.intermediate_size or max(8, round(config.intermediate_size * hidden / config.hidden_size / 8) * 8),
        "num_hidden_layers": wanted.layer_count or config.num_hidden_layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_values,
        "head_dim": width,
    }


def take_layers(model: Any, teacher: Any) -> None:
    """Gives a new model layers of a teacher, evenly spaced from its first to its last, and its embeddings; where the new one is narrower,
    the leading dimensions; where it is wider it keeps what it had in the rest (after DistilBERT, Sanh et al., 2019)."""
    count, available = model.config.num_hidden_layers, teacher.config.num_hidden_layers
    chosen = [round(number * (available - 1) / (count - 1)) if count > 1 else 0 for number in range(count)]
    given = teacher.state_dict()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            pieces = name.split(".")
            if "layers" in pieces:
                place = pieces.index("layers") + 1
                pieces[place] = str(chosen[int(pieces[place])])
            source = given.get(".".join(pieces))
            if source is not None:
                common = tuple(slice(0, min(own, other)) for own, other in zip(weight.shape, source.shape, strict=True))
                weight[common] = source[common].to(weight.dtype)
