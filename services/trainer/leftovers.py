"""Ends what a local Ray cluster leaves behind when its driver is killed.

    /tmp/corella-ray-{pid}-{start}/   all that a cluster writes, named after the driver that started it, so that anybody can
                                      tell whether it is still wanted

Most of Ray's processes are told by the kernel when the driver dies. Its two agents are not (they outlived it by minutes when measured), nor
does the folder go. So beside each cluster a small process waits for the driver's end and then clears away: this module, run as
`python -m services.trainer.leftovers FOLDER` with the driver at the other end of its standard input. Where that was killed too, `reap` does
it when the next cluster is started.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

_PLACE = Path("/tmp")  # noqa: S108 - Unix sockets below it may have 107 characters in all, so it must be short
_PREFIX = "corella-ray-"
_ROOT = Path(__file__).resolve().parents[2]


def folder_of_this_process() -> Path:
    """Where a cluster of this process is to write."""
    return _PLACE / f"{_PREFIX}{os.getpid()}-{int(psutil.Process().create_time())}"


def watch(folder: Path) -> subprocess.Popen[bytes]:
    """Starts the process that clears `folder` away when this one is gone. Closing its standard input makes it do so at once."""
    return subprocess.Popen(  # noqa: S603 our own module
        [sys.executable, "-m", "services.trainer.leftovers", str(folder)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def reap() -> None:
    """Clears away what drivers that are gone have left."""
    for folder in _PLACE.glob(f"{_PREFIX}*-*"):
        pid, _, start = folder.name.removeprefix(_PREFIX).partition("-")
        with suppress(FileNotFoundError):
            if folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid() and not _lives(pid, start):
                end(folder)


def end(folder: Path) -> None:
    """Kills the processes that were started for a cluster, and removes its folder."""
    for _ in range(10):
        found = [process for process in psutil.process_iter() if process.pid != os.getpid() and _belongs(process, folder)]
        for process in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
        if not found:
            break
        # One more look: what was killed may have been starting another.
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def _belongs(process: psutil.Process, folder: Path) -> bool:
    """Whether a process names the folder in its command, or, for those that have renamed themselves, writes to a file in it."""
    try:
        if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        command = process.cmdline()
        if "services.trainer.leftovers" in command:
            return False
        if any(str(folder) in word for word in command):
            return True
        return bool(command) and command[0].startswith("ray::") and any(file.path.startswith(f"{folder}/") for file in process.open_files())
    except psutil.Error:
        return False


def _lives(pid: str, start: str) -> bool:
    try:
        return int(psutil.Process(int(pid)).create_time()) == int(start)
    except (psutil.Error, ValueError):
        return False


def main(folder: Path) -> None:
    """Waits for the end of standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
