"""Models fetched before a service starts: whole or not at all, once, and never what could run code."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from corella.local import pull_models
from corella.local.pull_models import SourceRefused, main, pull


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A model as it lies at a URL."""
    folder = tmp_path / "elsewhere" / "small"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "1_Pooling" / "config.json").write_text("{}")
    return folder


def test_a_folder_at_a_url_appears_whole_under_its_name(tmp_path: Path, elsewhere: Path) -> None:
    assert pull(tmp_path / "models", "small", elsewhere.as_uri())
    assert (tmp_path / "models" / "small" / "model.safetensors").read_bytes() == b"weights"
    assert (tmp_path / "models" / "small" / "1_Pooling" / "config.json").is_file()
    assert os.listdir(tmp_path / "models") == ["small"]


def test_a_slash_at_the_end_of_a_url_changes_nothing(tmp_path: Path, elsewhere: Path) -> None:
    pull(tmp_path / "models", "small", elsewhere.as_uri() + "/")
    assert (tmp_path / "models" / "small" / "model.safetensors").is_file()


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    assert not pull(tmp_path, "small", "file:///nowhere")


def test_a_folder_without_safetensors_is_refused_and_leaves_nothing(tmp_path: Path, elsewhere: Path) -> None:
    (elsewhere / "model.safetensors").rename(elsewhere / "pytorch_model.bin")
    with pytest.raises(SourceRefused, match="no model in safetensors form"):
        pull(tmp_path / "models", "small", elsewhere.as_uri())
    assert os.listdir(tmp_path / "models") == []


@pytest.mark.parametrize(
    ("name", "source", "why"),
    [
        ("m", "hf:owner/repository", "revision"),
        ("m", "hf:repository@main", "owner/repository"),
        ("m", "bundled:gpt-9", "bundled are SmolLM2-135M-Instruct, all-MiniLM-L6-v2"),
        ("m", "/models/m", "neither"),
        ("../m", "bundled:all-MiniLM-L6-v2", "no name"),
        (".m", "bundled:all-MiniLM-L6-v2", "no name"),
    ],
)
def test_a_source_that_names_nothing_is_refused_before_anything_is_written(tmp_path: Path, name: str, source: str, why: str) -> None:
    with pytest.raises(SourceRefused, match=why):
        pull(tmp_path / "models", name, source)
    assert not (tmp_path / "models").exists()


def test_of_a_repository_the_pinned_revision_is_fetched_and_no_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(repository: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        asked.update(repository=repository, revision=revision, patterns=allow_patterns)
        (local_dir / ".cache").mkdir()
        (local_dir / "model-00001-of-00001.safetensors").write_bytes(b"weights")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    pull(tmp_path, "large", "hf:owner/large-7B@0a1b2c3")
    assert (asked["repository"], asked["revision"]) == ("owner/large-7B", "0a1b2c3")
    assert "*.safetensors" in asked["patterns"]
    assert not any(pattern.endswith((".bin", ".pt", ".pth", "*", ".py")) for pattern in asked["patterns"])
    assert os.listdir(tmp_path / "large") == ["model-00001-of-00001.safetensors"]


def test_two_pods_at_once_leave_one_whole_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch_and_be_overtaken(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"ours")
        (tmp_path / "small").mkdir()
        (tmp_path / "small" / "model.safetensors").write_bytes(b"theirs")

    monkeypatch.setitem(pull_models.BUNDLED, "small", fetch_and_be_overtaken)
    assert pull(tmp_path, "small", "bundled:small")
    assert (tmp_path / "small" / "model.safetensors").read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["small"]


def test_what_a_killed_pod_left_is_cleared_and_what_another_one_is_at_is_not(tmp_path: Path, elsewhere: Path) -> None:
    models = tmp_path / "models"
    for name in (".small.old", ".small.new"):
        (models / name).mkdir(parents=True)
    os.utime(models / ".small.old", (0, time.time() - 2 * 86_400))
    pull(models, "small", elsewhere.as_uri())
    assert sorted(os.listdir(models)) == [".small.new", "small"]


def test_the_command_says_what_it_does_and_fails_with_the_reason(
    tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--folder", str(tmp_path / "models"), f"small={elsewhere.as_uri()}", f"small={elsewhere.as_uri()}"]) == 0
    said = capsys.readouterr().err
    assert "small: fetched in" in said
    assert "small: is there" in said
    assert main(["--folder", str(tmp_path / "models"), "other=hf:owner/other"]) == 1
    assert "hf:owner/repository@revision" in capsys.readouterr().err
