"""What is a LoRA that can be served, and what is refused before an engine sees it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from services.generator.adapter_checks import CONFIG, FILES, WEIGHTS, AdapterFiles, Limits, faults

QUERY = "model.layers.0.self_attn.q_proj"
CONFIG_OF_PEFT = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "bias": "none", "target_modules": ["q_proj"],
    "modules_to_save": None, "auto_mapping": None, "use_dora": False, "init_lora_weights": True, "inference_mode": True,
    "megatron_core": "megatron.core", "qalora_group_size": 16, "loftq_config": {}, "rank_pattern": {}, "alpha_pattern": {},
}  # fmt: skip
LIMITS = Limits(max_rank=16, modules={QUERY: (576, 576), "lm_head": (49152, 576)})


def header(rank: int = 8, module: str = QUERY, inputs: int = 576, **entries: object) -> dict[str, object]:
    """The header of a file with one pair of tensors."""
    size = 2 * rank * inputs
    return {
        "__metadata__": {"format": "pt"},
        f"base_model.model.{module}.lora_A.weight": {"dtype": "BF16", "shape": [rank, inputs], "data_offsets": [0, size]},
        f"base_model.model.{module}.lora_B.weight": {"dtype": "BF16", "shape": [576, rank], "data_offsets": [size, size + 2 * 576 * rank]},
    } | entries


def files(config: dict | bytes = CONFIG_OF_PEFT, tensors: dict | bytes | None = None, names: frozenset[str] = FILES) -> AdapterFiles:
    """Files that are right but for what is given."""
    given = header() if tensors is None else tensors
    length = 2 * 8 * 576 * 2
    return AdapterFiles(
        names,
        config if isinstance(config, bytes) else json.dumps(config).encode(),
        given if isinstance(given, bytes) else json.dumps(given).encode(),
        length,
    )


def test_what_peft_writes_is_taken() -> None:
    assert faults(files(), LIMITS) == []


def test_a_model_whose_layers_are_not_known_takes_any_layer_of_a_known_name() -> None:
    assert faults(files(tensors=header(module="model.layers.9.mlp.up_proj")), replace(LIMITS, modules={})) == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (FILES | {"adapter_model.bin"}, "adapter_model.bin"),
        (FILES | {"optimizer.pt", "training_args.bin"}, "must not be there"),
        (FILES | {"modeling.py"}, "modeling.py"),
        (frozenset({CONFIG, "adapter_model.bin"}), f"`{WEIGHTS}` is missing"),
        (frozenset({WEIGHTS}), f"`{CONFIG}` is missing"),
    ],
)
def test_a_folder_holds_two_files_and_nothing_else(names: frozenset[str], said: str) -> None:
    assert said in "; ".join(faults(files(names=names), LIMITS))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "does not say that it is a LoRA"),
        ({"r": 32}, "its rank is 32; at most 16"),
        ({"r": 0}, "not a whole number"),
        ({"r": True}, "not a whole number"),
        ({"r": "8"}, "not a whole number"),
        ({"rank_pattern": {"q_proj": 64}}, "its rank is 64"),
        ({"rank_pattern": ["q_proj"]}, "not a whole number"),
        ({"lora_alpha": "16"}, "`lora_alpha` is not a number"),
        ({"lora_alpha": float("nan")}, "`lora_alpha` is not a number"),
        ({"bias": "all"}, "biases"),
        ({"task_type": "SEQ_CLS"}, "another task"),
        ({"use_dora": True}, "`use_dora`"),
        ({"modules_to_save": ["lm_head"]}, "`modules_to_save`"),
        ({"auto_mapping": {"base_model_class": "Evil", "parent_library": "evil"}}, "`auto_mapping`"),
        ({"init_lora_weights": "pissa"}, "changes the base model"),
        ({"init_lora_weights": {"a": 1}}, "changes the base model"),
        ({"some_new_method": {"x": 1}}, "`some_new_method`"),
        ({"layer_replication": [[0, 4]]}, "`layer_replication`"),
    ],
)
def test_a_configuration_of_anything_but_a_plain_lora_is_refused(change: dict, said: str) -> None:
    assert said in "; ".join(faults(files(CONFIG_OF_PEFT | change), LIMITS))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    assert faults(files(config=raw), LIMITS)
    assert faults(files(tensors=raw), LIMITS)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({}, "holds no tensors"),
        (header(module="model.layers.7.self_attn.q_proj"), "no part of a LoRA of this model"),
        (header(module="lm_head"), "no part of a LoRA of this model"),
        (header(module="model.layers.0.self_attn.q_proj.base_layer"), "no part of a LoRA of this model"),
        (header(**{"base_model.model.score.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}), "score.weight"),
        (header(rank=32), "too high a rank"),
        (header(inputs=512), "do not have the shape"),
        (header(**{f"base_model.model.{QUERY}.lora_B.weight": {"dtype": "I8", "shape": [576, 8], "data_offsets": [0, 4608]}}), "no part"),
        (header(**{f"base_model.model.{QUERY}.lora_B.weight": {"dtype": "BF16", "shape": [576, 8], "data_offsets": [0, 9216]}}), "as long"),
        ({name: entry for name, entry in header().items() if "lora_B" not in name}, "do not have the shape"),
        (header(**{f"base_model.model.{QUERY}.lora_A.weight": "weights"}), "no part"),
    ],
)  # fmt: skip
def test_tensors_that_are_no_lora_of_this_model_are_refused(tensors: dict, said: str) -> None:
    assert said in "; ".join(faults(files(tensors=tensors), LIMITS))


def test_a_file_that_is_longer_than_its_tensors_is_refused() -> None:
    assert faults(replace(files(), weights_bytes=files().weights_bytes + 1), LIMITS)
