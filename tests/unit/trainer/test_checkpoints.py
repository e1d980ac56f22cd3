"""Checkpoints are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from services.chassis.checked_folder import MANIFEST
from services.trainer import checkpoints
from services.trainer.checkpoints import Checkpoint, flatten_adamw, newest, restore_adamw, save, steps


def checkpoint(step: int) -> Checkpoint:
    """With its step in every tensor."""
    return Checkpoint(step, {"a": torch.full((3,), float(step))}, {"a/step": torch.tensor(float(step))}, {"tokens": step})


@pytest.fixture(params=["path", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place on disk, and one that is no disk."""
    return str(tmp_path / "checkpoints") if request.param == "path" else f"memory://{tmp_path.name}/checkpoints"


def test_the_newest_comes_back_as_it_was_and_two_are_kept(url: str) -> None:
    assert newest(url) is None
    for step in (3, 6, 9):
        save(url, checkpoint(step))
    assert steps(url) == [6, 9]
    found = newest(url)
    assert found is not None
    assert (found.step, found.state["tokens"]) == (9, 9)
    torch.testing.assert_close(found.trained["a"], torch.full((3,), 9.0))
    torch.testing.assert_close(found.optimizer["a/step"], torch.tensor(9.0))


def test_one_without_a_manifest_does_not_count(tmp_path: Path) -> None:
    url = str(tmp_path)
    save(url, checkpoint(3))
    save(url, checkpoint(6))
    (tmp_path / "step-000006" / MANIFEST).unlink()
    found = newest(url)
    assert found is not None
    assert found.step == 3
    save(url, checkpoint(6))
    again = newest(url)
    assert again is not None
    assert again.step == 6


@pytest.mark.parametrize("name", ["trained.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_one_does_not_count_and_can_be_written_anew(tmp_path: Path, name: str) -> None:
    url = str(tmp_path)
    save(url, checkpoint(3))
    save(url, checkpoint(6))
    damaged = tmp_path / "step-000006" / name
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    found = newest(url)
    assert found is not None
    assert found.step == 3
    save(url, checkpoint(6))
    again = newest(url)
    assert again is not None
    assert again.step == 6


def test_a_process_killed_while_it_writes_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path)
    save(url, checkpoint(3))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("services.chassis.checked_folder.write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        save(url, checkpoint(6))
    assert (tmp_path / "step-000006").is_dir()
    found = newest(url)
    assert found is not None
    assert found.step == 3


def test_adamw_goes_on_as_if_nothing_had_been() -> None:
    def start() -> tuple[dict[str, torch.nn.Parameter], torch.optim.AdamW]:
        trained = {"a": torch.nn.Parameter(torch.ones(4)), "b": torch.nn.Parameter(torch.ones(2, 2))}
        return trained, torch.optim.AdamW(trained.values(), lr=0.1, fused=True)

    def step(trained: dict[str, torch.nn.Parameter], optimizer: torch.optim.AdamW) -> None:
        for weight in trained.values():
            weight.grad = weight.detach() * 0.3
        optimizer.step()

    trained, optimizer = start()
    step(trained, optimizer)
    flat = flatten_adamw(optimizer, trained)
    again, other = start()
    for name, weight in again.items():
        weight.data.copy_(trained[name])
    restore_adamw(other, again, flat)
    step(trained, optimizer)
    step(again, other)
    for name, weight in again.items():
        assert torch.equal(weight, trained[name])


def test_other_names_are_no_checkpoints(tmp_path: Path) -> None:
    for name in ("step-", "step-abc", "other-000001"):
        (tmp_path / name).mkdir()
    assert checkpoints.steps(str(tmp_path)) == []
