"""The shelf on real storage: what is to serve, and versions that come over whole and checked or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from safetensors.numpy import save_file

from services.chassis.checked_folder import publish, write_whole
from services.generator.adapter_checks import Limits
from services.generator.domain import Adapter, AdapterNotFound, AdapterRefused, ShelfUnavailable
from services.generator.fsspec_shelf import FsspecShelf
from services.generator.ports import DesiredAdapter
from services.generator.safetensors_headers import linear_shapes
from services.generator.settings import AdapterSettings

NAME = "adapters/default/versions/v1"
MODULE = "model.layers.0.self_attn.q_proj"


class Stage:
    """A shelf at a URL with what reads it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.cache = folder / "cache"
        base = folder / "base"
        base.mkdir()
        save_file({f"{MODULE}.weight": np.zeros((6, 4), np.float32), "norm.weight": np.zeros(4, np.float32)}, base / "model.safetensors")
        settings = AdapterSettings(shelf_url=url, cache_folder=self.cache, max_bytes=10_000, timeout_seconds=5)
        self.shelf = FsspecShelf(settings, Limits(16, linear_shapes(base)), "the-base")

    def files(self, **extra: bytes) -> Path:
        """A new folder with an adapter, and whatever else is given."""
        files = self.folder / f"files-{os.urandom(4).hex()}"
        files.mkdir()
        pair = {"A": np.ones((2, 4), np.float32), "B": np.ones((6, 2), np.float32)}
        weights = {f"base_model.model.{MODULE}.lora_{side}.weight": tensor for side, tensor in pair.items()}
        save_file(weights, files / "adapter_model.safetensors")
        (files / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "task_type": "CAUSAL_LM"}))
        for name, content in extra.items():
            (files / name.replace("__", ".")).write_bytes(content)
        return files

    def publish(self, files: Path, version: str = "v1", **notes: str) -> str:
        """Puts it on the shelf; returns its digest."""
        return publish(files, f"{self.url}/adapters/default/{version}", {"base_fingerprint": "the-base", "job": "jobs/7", **notes}).digest

    def write(self, path: str, content: bytes) -> None:
        """Writes into the first version's folder."""
        write_whole(f"{self.url}/adapters/default/v1/{path}", content)


@pytest.fixture(params=["path", "url"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    url = str(tmp_path / "shelf") if request.param == "path" else f"memory://shelf-{os.urandom(4).hex()}"
    made = Stage(url, tmp_path)
    yield made
    made.shelf.close()
    fsspec.filesystem("memory").store.clear()


async def test_nobody_has_said_what_is_to_serve(stage: Stage) -> None:
    assert await stage.shelf.desired() is None


async def test_what_is_to_serve_is_read_with_fields_that_are_not_known_yet(stage: Stage) -> None:
    said = {"adapter": NAME, "digest": "a" * 64, "generation": "7", "updateTime": "2026-01-01T00:00:00Z", "someNewField": 1}
    write_whole(f"{stage.url}/serving.json", json.dumps(said).encode())
    assert await stage.shelf.desired() == DesiredAdapter(NAME, "a" * 64, 7)
    write_whole(f"{stage.url}/serving.json", b'{"generation": "8"}')
    assert await stage.shelf.desired() == DesiredAdapter("", "", 8)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"\xff", b'{"adapter": "adapters/a/versions/../../x", "digest": "%s"}' % (b"a" * 64),
        b'{"adapter": "adapters/default/versions/v1"}', b'{"adapter": "adapters/default/versions/v1", "digest": "a"}',
    ],
)  # fmt: skip
async def test_a_state_that_cannot_be_read_is_refused(stage: Stage, raw: bytes) -> None:
    write_whole(f"{stage.url}/serving.json", raw)
    with pytest.raises(AdapterRefused):
        await stage.shelf.desired()


@pytest.mark.parametrize(
    ("noted", "taken"),
    [
        (
            {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nmore"}, ""),
        ({"traceparent": "somewhere"}, ""),
        ({}, ""),
    ],
)
async def test_a_version_knows_the_span_of_the_run_that_trained_it(stage: Stage, noted: dict[str, str], taken: str) -> None:
    stage.publish(stage.files(), **noted)
    adapter, _ = await stage.shelf.fetch(NAME)
    assert adapter.traceparent == taken


async def test_a_version_comes_over_whole_and_is_not_copied_twice(stage: Stage) -> None:
    digest = stage.publish(stage.files())
    adapter, folder = await stage.shelf.fetch(NAME, digest)
    assert adapter == Adapter(NAME, digest, "jobs/7")
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert folder.is_absolute()
    made = folder.stat().st_ino
    assert (await stage.shelf.fetch(NAME))[1].stat().st_ino == made
    await stage.shelf.forget(adapter)
    assert not folder.exists()


async def test_a_version_that_is_not_there_or_not_finished_is_not_found(stage: Stage) -> None:
    with pytest.raises(AdapterNotFound):
        await stage.shelf.fetch(NAME)
    stage.write("adapter_model.safetensors", b"x")
    with pytest.raises(AdapterNotFound):
        await stage.shelf.fetch(NAME)
    with pytest.raises(AdapterNotFound):
        await stage.shelf.fetch("adapters/../versions/x")


async def test_another_digest_than_was_said_is_refused(stage: Stage) -> None:
    stage.publish(stage.files())
    with pytest.raises(AdapterRefused, match="digest"):
        await stage.shelf.fetch(NAME, "a" * 64)
    assert not stage.cache.exists()


async def test_files_that_were_changed_are_refused_and_leave_nothing(stage: Stage) -> None:
    digest = stage.publish(stage.files())
    stage.write("adapter_model.safetensors", b"x" * 200)
    with pytest.raises(AdapterRefused, match="not the one that was published"):
        await stage.shelf.fetch(NAME, digest)
    assert list(stage.cache.iterdir()) == []


@pytest.mark.parametrize("name", ["adapter_model.bin", "training_args.pt", "modeling.py"])
async def test_anything_else_in_the_folder_is_refused_whether_the_manifest_names_it_or_not(stage: Stage, name: str) -> None:
    stage.publish(stage.files(**{name.replace(".", "__"): b"\x80\x04."}))
    with pytest.raises(AdapterRefused, match="must not be there"):
        await stage.shelf.fetch(NAME)
    stage.publish(stage.files(), "v2")
    write_whole(f"{stage.url}/adapters/default/v2/{name}", b"\x80\x04.")
    with pytest.raises(AdapterRefused, match="must not be there"):
        await stage.shelf.fetch(NAME.replace("v1", "v2"))
    assert not stage.cache.exists()


@pytest.mark.parametrize(
    ("notes", "said"), [({"base_fingerprint": "another"}, "another base model"), ({"name": "adapters/x/versions/1"}, "another version")]
)
async def test_a_version_for_something_else_is_refused(stage: Stage, notes: dict[str, str], said: str) -> None:
    stage.publish(stage.files(), **notes)
    with pytest.raises(AdapterRefused, match=said):
        await stage.shelf.fetch(NAME)


async def test_what_is_too_large_is_not_copied(stage: Stage) -> None:
    stage.publish(stage.files(adapter_config__json=b" " * 20_000))
    with pytest.raises(AdapterRefused, match="at most 10,000"):
        await stage.shelf.fetch(NAME)


async def test_files_that_are_no_lora_are_refused_and_leave_nothing(stage: Stage) -> None:
    stage.publish(stage.files(adapter_config__json=b'{"peft_type": "LORA", "r": 64, "lora_alpha": 1}'))
    with pytest.raises(AdapterRefused, match="rank is 64"):
        await stage.shelf.fetch(NAME)
    assert list(stage.cache.iterdir()) == []


async def test_what_was_put_into_the_local_copy_goes(stage: Stage) -> None:
    stage.publish(stage.files())
    _, folder = await stage.shelf.fetch(NAME)
    (folder / "adapter_model.bin").write_bytes(b"x")
    _, folder = await stage.shelf.fetch(NAME)
    assert not (folder / "adapter_model.bin").exists()


async def test_what_a_killed_process_left_goes_and_nothing_else(stage: Stage) -> None:
    stage.publish(stage.files())
    adapter, folder = await stage.shelf.fetch(NAME)
    stale, partial, foreign = stage.cache / f"{'b' * 64}-x", stage.cache / f".{'c' * 64}-x.12.abc", stage.cache / "photos"
    for path in (stale, partial, foreign):
        path.mkdir()
    await stage.shelf.keep_only([adapter])
    assert set(stage.cache.iterdir()) == {folder, foreign}


async def test_storage_that_fails_is_told_without_its_own_words(tmp_path: Path) -> None:
    shelf = FsspecShelf(AdapterSettings(shelf_url="nosuchprotocol://secret@host/x", cache_folder=tmp_path), Limits(16, {}), "")
    with pytest.raises(ShelfUnavailable) as caught:
        await shelf.desired()
    assert "secret" not in caught.value.message
    shelf.close()
