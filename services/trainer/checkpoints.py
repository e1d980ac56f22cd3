"""Checkpoints of a training: folders below a path or URL that are whole or not there.

    {url}/step-000123/   trained.safetensors    the weights that are trained, float32
                         optimizer.safetensors  AdamW's two means of each
                         state.json             step, tokens, seconds, all steps so far, and of which plan they are
                         manifest.json          size and SHA-256 of the others, written last

A folder without its manifest does not count, nor one whose files are not those of the manifest: the one before it is taken. The last two
are kept. There is no state of random numbers: after its start a training draws none, and the order of examples follows from seed and epoch.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fsspec.core import url_to_fs
from safetensors.torch import load_file, save_file

from services.chassis.checked_folder import MANIFEST, FolderRefused, fetch, publish, read_manifest

KEEP = 2
_PREFIX = "step-"
_MAX_BYTES = 2**40


@dataclass(frozen=True)
class Checkpoint:
    """What is needed to go on."""

    step: int
    trained: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    state: Mapping[str, Any]


def save(url: str, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint below `url` and removes all but the last two. Blocking."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_file(checkpoint.trained, folder / "trained.safetensors")
        save_file(checkpoint.optimizer, folder / "optimizer.safetensors")
        (folder / "state.json").write_text(json.dumps(checkpoint.state))
        target = f"{url}/{_PREFIX}{checkpoint.step:06d}"
        # One of this step that is there was not taken when training began, so it is not whole.
        _remove(target)
        publish(folder, target, {"step": str(checkpoint.step)})
    for step in steps(url)[:-KEEP]:
        _remove(f"{url}/{_PREFIX}{step:06d}")


def newest(url: str, before: int | None = None) -> Checkpoint | None:
    """The newest whole checkpoint below `url` (with a step less than `before`), checked; None when there is none. Blocking."""
    for step in reversed(steps(url)):
        if before is None or step < before:
            try:
                return read(url, step)
            except (FolderRefused, ValueError, KeyError):
                continue
    return None


def read(url: str, step: int) -> Checkpoint:
    """One checkpoint, checked. Raises `FolderRefused` when it is not whole. Blocking."""
    source = f"{url}/{_PREFIX}{step:06d}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = fetch(source, Path(temporary) / "checkpoint", read_manifest(source), _MAX_BYTES)
        # Cloned, because `load_file` maps the files, which are about to go.
        trained = {name: tensor.clone() for name, tensor in load_file(folder / "trained.safetensors").items()}
        optimizer = {name: tensor.clone() for name, tensor in load_file(folder / "optimizer.safetensors").items()}
        return Checkpoint(step, trained, optimizer, json.loads((folder / "state.json").read_text()))


def steps(url: str) -> list[int]:
    """Steps of which there is a folder below `url`, whole or not, in order."""
    storage, root = url_to_fs(url)
    storage.invalidate_cache()
    if not storage.exists(root):
        return []
    names = [str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in storage.ls(root, detail=False)]
    return sorted(int(name.removeprefix(_PREFIX)) for name in names if name.startswith(_PREFIX) and name.removeprefix(_PREFIX).isdigit())


def flatten_adamw(optimizer: torch.optim.Optimizer, trained: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """AdamW's state as tensors by name, so that it needs no pickle."""
    flat = {}
    for name, weight in trained.items():
        for part in ("exp_avg", "exp_avg_sq", "step"):
            flat[f"{name}/{part}"] = torch.as_tensor(optimizer.state[weight][part]).detach().cpu().clone()
    return flat


def restore_adamw(optimizer: torch.optim.Optimizer, trained: Mapping[str, torch.nn.Parameter], flat: Mapping[str, torch.Tensor]) -> None:
    """Puts back what `flatten_adamw` gave."""
    for name, weight in trained.items():
        optimizer.state[weight] = {
            part: flat[f"{name}/{part}"].to("cpu" if part == "step" and not weight.is_cuda else weight.device)
            for part in ("exp_avg", "exp_avg_sq", "step")
        }


def _remove(url: str) -> None:
    storage, root = url_to_fs(url)
    if storage.exists(root):
        # The manifest first: a folder that is half gone must not count.
        if storage.exists(f"{root}/{MANIFEST}"):
            storage.rm_file(f"{root}/{MANIFEST}")
        storage.rm(root, recursive=True)
