"""Processes that may be somebody else's by now: they are known by pid and start time together, and only then signalled."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil

RUN_VARIABLE = "CORELLA_RUN"
"""Environment variable that marks everything a run started, so that none of it is missed and nothing else is touched."""


def started_at(pid: int) -> float | None:
    """When a process began, seconds since 1970; None when there is none of that pid."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def find(pid: int | None, began: float | None) -> psutil.Process | None:
    """The living process of that pid, if it began then; None when it has ended or the pid has been given to another."""
    if pid is None or began is None:
        return None
    try:
        process = psutil.Process(pid)
        # The kernel counts in hundredths of a second; clock corrections may move its beginning a little.
        if abs(process.create_time() - began) > 2 or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process
    except psutil.Error:
        return None


def family(pid: int) -> list[psutil.Process]:
    """A process and everything it started, as far as it lives."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def kill_group(pid: int) -> None:
    """Ends the process group that `pid` leads, at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def kill_all(processes: list[psutil.Process]) -> None:
    """Ends those that still live, at once. psutil knows each by its start time and kills no other."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def remains(run_id: str) -> list[psutil.Process]:
    """Every living process that a run started, at whatever remove."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(RUN_VARIABLE) == run_id:
                found.append(process)
    return found


def end(pid: int | None, began: float | None, grace_seconds: float) -> bool:
    """Ends a process with everything it started: asks first, then forces. Returns whether there was something to end."""
    process = find(pid, began)
    if process is None or pid is None:
        return False
    members = family(pid)
    with contextlib.suppress(psutil.Error):
        process.terminate()
    until = time.monotonic() + grace_seconds
    while time.monotonic() < until and find(pid, began) is not None:
        time.sleep(0.05)
    kill_group(pid)
    kill_all(members)
    return True


def owner_of_port(port: int) -> str:
    """Who listens on a port, as `pid 123 (redis-server)`; empty when the system does not tell."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
