"""The fingerprint follows what an adapter depends on, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis.model_fingerprint import base_fingerprint


def model(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, content in {"config.json": "{}", "tokenizer.json": "{}", **files}.items():
        (folder / name).write_text(content)
    return folder


def test_weights_do_not_count(tmp_path: Path) -> None:
    one = model(tmp_path / "one", **{"model.safetensors": "a"})
    two = model(tmp_path / "two", **{"model.safetensors": "b", "README.md": "x"})
    assert base_fingerprint(one) == base_fingerprint(two)
    assert len(base_fingerprint(one)) == 64


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_each_file_counts(tmp_path: Path, name: str) -> None:
    assert base_fingerprint(model(tmp_path / "one")) != base_fingerprint(model(tmp_path / "two", **{name: "{ }"}))


def test_content_does_not_move_from_one_file_to_the_next_unnoticed(tmp_path: Path) -> None:
    one = model(tmp_path / "one", **{"config.json": "ab", "tokenizer.json": "c"})
    two = model(tmp_path / "two", **{"config.json": "a", "tokenizer.json": "bc"})
    assert base_fingerprint(one) != base_fingerprint(two)


def test_a_folder_without_a_configuration_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        base_fingerprint(tmp_path)
