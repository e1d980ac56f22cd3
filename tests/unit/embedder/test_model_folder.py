"""What a model folder says about itself, and which folders are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.embedder.domain import InputType, ModelRefused
from services.embedder.model_folder import fingerprint, read_embedding_folder

MODULES = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling", "sentence_transformers.models.Normalize"]


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    write(
        root / "modules.json", [{"type": kind, "path": path} for kind, path in zip(MODULES, ["", "1_Pooling", "2_Normalize"], strict=True)]
    )
    write(root / "config.json", {"max_position_embeddings": 512})
    write(root / "tokenizer_config.json", {"model_max_length": 512})
    write(root / "sentence_bert_config.json", {"max_seq_length": 256})
    write(root / "1_Pooling/config.json", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False})
    (root / "model.safetensors").write_bytes(b"weights")
    return root


def test_a_folder_is_read_whole(folder: Path) -> None:
    read = read_embedding_folder(folder)
    assert (read.pooling, read.normalize, read.max_tokens, read.lower_case) == ("mean", True, 256, False)
    assert read.prompts == {InputType.QUERY: "", InputType.DOCUMENT: ""}
    assert len(read.fingerprint) == 16


def test_the_longest_text_is_what_the_folder_says_unless_the_setting_says_otherwise(folder: Path) -> None:
    assert read_embedding_folder(folder, 512).max_tokens == 512
    with pytest.raises(ModelRefused, match="more than the 512"):
        read_embedding_folder(folder, 513)
    (folder / "sentence_bert_config.json").unlink()
    write(folder / "tokenizer_config.json", {"model_max_length": 10**30})
    assert read_embedding_folder(folder).max_tokens == 512


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["lasttoken"]}, "lasttoken"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, "lasttoken"),
        ({"word_embedding_dimension": 384}, "mean"),
    ],
)
def test_pooling_is_read_in_its_old_and_new_form(folder: Path, config: dict, expected: str) -> None:
    write(folder / "1_Pooling/config.json", config)
    assert read_embedding_folder(folder).pooling == expected


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode": "max"},
        {"pooling_mode_max_tokens": True},
        {"pooling_mode": ["mean", "cls"]},
        {"pooling_mode": "mean", "include_prompt": False},
    ],
)
def test_pooling_that_cannot_be_served_is_refused(folder: Path, config: dict) -> None:
    write(folder / "1_Pooling/config.json", config)
    with pytest.raises(ModelRefused):
        read_embedding_folder(folder)


@pytest.mark.parametrize(
    ("config", "query", "document"),
    [
        ({"prompts": {"query": "query: ", "passage": "passage: "}}, "query: ", "passage: "),
        ({"prompts": {"query": "ask: ", "document": "doc: ", "passage": "p: "}}, "ask: ", "doc: "),
        ({"prompts": {"any": "all: "}, "default_prompt_name": "any"}, "all: ", "all: "),
        ({"prompts": {"query": "q: "}, "default_prompt_name": None}, "q: ", ""),
        ({}, "", ""),
    ],
)
def test_instructions_are_those_sentence_transformers_would_take(folder: Path, config: dict, query: str, document: str) -> None:
    write(folder / "config_sentence_transformers.json", config)
    assert read_embedding_folder(folder).prompts == {InputType.QUERY: query, InputType.DOCUMENT: document}


def test_weights_that_can_run_code_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelRefused, match="can run code"):
        read_embedding_folder(folder)


def test_modules_that_cannot_be_served_are_refused_by_name(folder: Path) -> None:
    write(folder / "modules.json", [{"type": kind, "path": ""} for kind in [*MODULES[:2], "sentence_transformers.models.Dense"]])
    with pytest.raises(ModelRefused, match="Dense"):
        read_embedding_folder(folder)


def test_modules_outside_of_the_folder_are_refused(folder: Path) -> None:
    write(folder / "modules.json", [{"type": kind, "path": "../elsewhere"} for kind in MODULES])
    with pytest.raises(ModelRefused, match="outside"):
        read_embedding_folder(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="nowhere"):
        read_embedding_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("changed", ["model.safetensors", "1_Pooling/config.json", "config_sentence_transformers.json"])
def test_the_fingerprint_follows_weights_pooling_and_instructions(folder: Path, changed: str) -> None:
    before = fingerprint(folder)
    (folder / "README.md").write_text("does not change a vector")
    assert fingerprint(folder) == before
    (folder / changed).write_bytes(b'{"other": 1}')
    assert fingerprint(folder) != before
