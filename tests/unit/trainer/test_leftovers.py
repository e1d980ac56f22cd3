"""What a cluster leaves behind is ended, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.trainer import leftovers


def sleeper(word: str) -> subprocess.Popen[bytes]:
    """A process with `word` in its command line."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", word])


def test_processes_of_the_folder_are_killed_and_the_folder_goes(tmp_path: Path) -> None:
    folder = tmp_path / "corella-ray-1-2"
    (folder / "logs").mkdir(parents=True)
    ours, other = sleeper(f"--log={folder}/logs"), sleeper(f"{tmp_path}/else")
    try:
        leftovers.end(folder)
        assert ours.wait(10) == -9
        assert other.poll() is None
        assert not folder.exists()
    finally:
        ours.kill()
        other.kill()
        other.wait()


def test_only_folders_whose_driver_is_gone_are_reaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_PLACE", tmp_path)
    mine = leftovers.folder_of_this_process()
    gone, reused, strange = tmp_path / "corella-ray-999999999-1", tmp_path / f"corella-ray-{os.getpid()}-1", tmp_path / "other"
    for folder in (mine, gone, reused, strange):
        folder.mkdir()
    leftovers.reap()
    assert mine.is_dir()
    assert strange.is_dir()
    assert not gone.exists()
    assert not reused.exists()


def test_the_watchdog_clears_away_when_its_driver_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "corella-ray-3-4"
    folder.mkdir()
    program = (
        "import pathlib, time; from services.trainer import leftovers\n"
        f"leftovers.watch(pathlib.Path({str(folder)!r})); print('watched', flush=True); time.sleep(60)"
    )
    driver = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert driver.stdout is not None
    assert driver.stdout.readline() == b"watched\n"
    driver.kill()
    driver.communicate()
    deadline = time.monotonic() + 30
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folder.exists()
