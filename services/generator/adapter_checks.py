"""Whether the files of an adapter are what a LoRA in PEFT's form has, and fit the model that is served; decided before vLLM sees them.

vLLM is more lenient than is good: it loads pickled weights where there are no safetensors, takes tensors that are smaller than the
layer they belong to, and leaves out what belongs to no layer. So everything is looked at here, and anything unknown is a fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
FILES = frozenset({CONFIG, WEIGHTS})
"""What a version's folder holds, besides its manifest, and nothing else."""
MAX_CONFIG_BYTES = 2**20
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Layers that can be adapted: the linear ones of attention and feed-forward, by their names in the Llama family and those alike."""

_SHOWN = 5
_TENSOR = re.compile(r"base_model\.model\.((?:\w+\.)*\w+)\.lora_([AB])\.weight", re.ASCII)
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
# What PEFT writes for a plain LoRA. Any other key that is set changes what the weights mean, or names weights or code beside them.
_PLAIN = frozenset({
    "alpha_pattern", "base_model_name_or_path", "bias", "exclude_modules", "inference_mode", "init_lora_weights", "layers_pattern",
    "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r",
    "rank_pattern", "revision", "target_modules", "task_type", "use_rslora",
})  # fmt: skip


@dataclass(frozen=True)
class AdapterFiles:
    """The files of an adapter, as far as they are looked at. `header` is the JSON in front of the weights; both may be cut short."""

    names: frozenset[str]
    config: bytes
    header: bytes
    weights_bytes: int
    """Bytes of the tensors, without the header."""


@dataclass(frozen=True)
class Limits:
    """What is served. `modules` are the layers of the base model with the shape (out, in) of their weights; empty: not known."""

    max_rank: int
    modules: Mapping[str, tuple[int, int]]


def name_faults(names: Collection[str]) -> list[str]:
    """What is wrong with the names of the files, in sentences; empty when nothing is."""
    faults = [f"`{name}` is missing" for name in sorted(FILES - set(names))]
    extra = sorted(set(names) - FILES)
    if extra:
        faults.append(f"{_listed(extra)} must not be there: an adapter is `{CONFIG}` and `{WEIGHTS}` and nothing else")
    return faults


def faults(files: AdapterFiles, limits: Limits) -> list[str]:
    """What is wrong with an adapter, in sentences without their full stop; empty when nothing is."""
    return name_faults(files.names) or [*_config_faults(files.config, limits.max_rank), *_tensor_faults(files, limits)]


def _config_faults(raw: bytes, max_rank: int) -> list[str]:
    config = _json_object(raw)
    if config is None:
        return [f"`{CONFIG}` is not a JSON object"]
    found: list[str] = []
    if config.get("peft_type") != "LORA":
        found.append(f"`{CONFIG}` does not say that it is a LoRA")
    ranks = [config.get("r"), *_values(config, "rank_pattern")]
    if not all(_is_count(rank) for rank in ranks):
        found.append("a rank is not a whole number above 0")
    elif max(ranks) > max_rank:
        found.append(f"its rank is {max(ranks)}; at most {max_rank} is served")
    if not all(_is_number(alpha) for alpha in [config.get("lora_alpha"), *_values(config, "alpha_pattern")]):
        found.append("`lora_alpha` is not a number")
    if config.get("bias", "none") != "none":
        found.append("it trained biases")
    if config.get("task_type") not in {None, "CAUSAL_LM"}:
        found.append("it is for another task than writing text")
    if not _is_plain_start(config.get("init_lora_weights", True)):
        found.append("its `init_lora_weights` changes the base model")
    unexpected = sorted(key for key, value in config.items() if value and key not in _PLAIN)
    if unexpected:
        found.append(f"{_listed(unexpected)} in `{CONFIG}` must not be set")
    return found


def _tensor_faults(files: AdapterFiles, limits: Limits) -> list[str]:
    header = _json_object(files.header)
    if header is None:
        return [f"`{WEIGHTS}` is not a safetensors file"]
    header.pop("__metadata__", None)
    if not header:
        return [f"`{WEIGHTS}` holds no tensors"]
    found: list[str] = []
    shapes: dict[str, dict[str, tuple[int, int]]] = {}
    extents: list[tuple[int, int]] = []
    strange: list[str] = []
    for name, given in header.items():
        match = _TENSOR.fullmatch(name)
        entry = _entry(given)
        if match is None or entry is None or not _is_known(match[1], limits.modules):
            strange.append(name)
            continue
        shape, extent = entry
        shapes.setdefault(match[1], {})[match[2]] = shape
        extents.append(extent)
    if strange:
        return [f"{_listed(strange)} in `{WEIGHTS}` is no part of a LoRA of this model"]
    if not _cover(extents, files.weights_bytes):
        found.append(f"`{WEIGHTS}` is not as long as its tensors")
    wrong = [module for module, sides in shapes.items() if not _fits(sides, limits.modules.get(module), limits.max_rank)]
    if wrong:
        found.append(f"the tensors for {_listed(wrong)} do not have the shape of this model's layers, or too high a rank")
    return found


def _is_known(module: str, modules: Mapping[str, tuple[int, int]]) -> bool:
    return module.rpartition(".")[2] in MODULES and (not modules or module in modules)


def _fits(sides: Mapping[str, tuple[int, int]], layer: tuple[int, int] | None, max_rank: int) -> bool:
    if sides.keys() != {"A", "B"}:
        return False
    (rank, inputs), (outputs, same_rank) = sides["A"], sides["B"]
    return rank == same_rank and 0 < rank <= max_rank and (layer is None or layer == (outputs, inputs))


def _entry(given: object) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Shape and extent in bytes of a tensor of two dimensions; None for anything else."""
    if not isinstance(given, dict):
        return None
    shape, offsets, size = given.get("shape"), given.get("data_offsets"), _BYTES.get(str(given.get("dtype")))
    if size is None or not _are_counts(shape) or not _are_counts(offsets):
        return None
    (rows, columns), (start, end) = shape, offsets  # type: ignore[misc]
    return ((rows, columns), (start, end)) if end - start == rows * columns * size else None


def _are_counts(given: object) -> bool:
    return isinstance(given, list) and len(given) == 2 and all(type(each) is int and each >= 0 for each in given)


def _cover(extents: list[tuple[int, int]], length: int) -> bool:
    """Whether the extents lie one after the other from 0 to `length`."""
    position = 0
    for start, end in sorted(extents):
        if start != position:
            return False
        position = end
    return position == length


def _json_object(raw: bytes) -> dict[str, Any] | None:
    try:
        given = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def _is_plain_start(given: object) -> bool:
    # Others (PiSSA, OLoRA, CorDA, LoftQ) take from the base model what the adapter then adds.
    return isinstance(given, bool) or given in ("gaussian", "orthogonal")


def _values(config: Mapping[str, Any], key: str) -> list[Any]:
    given = config.get(key) or {}
    return list(given.values()) if isinstance(given, dict) else [None]


def _is_count(given: object) -> bool:
    return type(given) is int and given > 0


def _is_number(given: object) -> bool:
    return type(given) in {int, float} and abs(given) < 1e9  # type: ignore[arg-type,operator]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(f"`{name[:120]}`" for name in names[:_SHOWN]) + more
