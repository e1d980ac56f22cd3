"""Keeps one process running: starts it in its turn, watches its health, starts it again when it dies, gives up when that is no use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path

from corella.local import tether
from corella.local.home import Home, ProcessRecord
from corella.local.processes import RUN_VARIABLE, family, kill_all, kill_group, started_at
from corella.local.stack import ProcessSpec, common_environment

MAX_SHORT_LIVES = 4
"""So many lives in a row shorter than `SHORT_LIFE_SECONDS` after becoming healthy, or without ever becoming so: it is given up."""
SHORT_LIFE_SECONDS = 60.0
BACKOFF_SECONDS = (0.5, 2.0, 5.0)
FIRST_PROBE_SECONDS = 0.2
PROBE_SECONDS = 3.0
SICK_PROBES = 3
"""Failed probes in a row after which a process that was healthy is called unhealthy."""
HOPELESS_SECONDS = 120.0
"""A process that has been unhealthy for so long is killed and started again."""


class Keeper:
    """One process of the stack, kept running by `keep`."""

    def __init__(self, spec: ProcessSpec, home: Home, run_id: str, record: ProcessRecord, changed: Callable[[], None]) -> None:
        self.spec = spec
        self._run_id = run_id
        self.record = record
        self.healthy = asyncio.Event()
        self._home = home
        self._changed = changed
        self._process: Process | None = None
        self._try_again = asyncio.Event()

    async def keep(self, before: list[Keeper]) -> None:
        """Runs until cancelled. `before` must be healthy first, and again before every new start."""
        short_lives = 0
        while True:
            await self._wait_for(before)
            began = time.monotonic()
            reason = await self._live()
            healthy_for = time.monotonic() - began - (self.record.healthy_after_seconds or 0) if self.record.healthy_after_seconds else 0
            short_lives = 0 if healthy_for >= SHORT_LIFE_SECONDS else short_lives + 1
            if short_lives >= MAX_SHORT_LIVES:
                self._say("given up", f"{reason}, {short_lives} times in a row; see {self._home.log_file(self.spec.name)}")
                self._try_again.clear()
                await self._try_again.wait()
                short_lives = 0
            else:
                self._say("restarting", reason)
                await asyncio.sleep(BACKOFF_SECONDS[min(max(short_lives, 1), len(BACKOFF_SECONDS)) - 1])
            self.record.restarts += 1

    def try_again(self) -> None:
        """Takes a process that was given up in hand once more."""
        self._try_again.set()

    def kill(self) -> None:
        """Ends the process at once, without asking."""
        if self._process is not None and self._process.returncode is None:
            kill_group(self._process.pid)

    async def stop(self) -> None:
        """Ends the process with everything it started. Call it after `keep` was cancelled."""
        process = self._process
        if process is not None and process.returncode is None:
            self._say("stopping")
            members = family(process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self.spec.stop_seconds)
            kill_group(process.pid)
            kill_all(members)
            await process.wait()
        self._process = None
        self.record.pid = self.record.started_at = None
        self._say("stopped")

    async def _wait_for(self, before: list[Keeper]) -> None:
        for other in before:
            while not other.healthy.is_set():
                self._say("waiting", f"for {other.spec.name}" + (", which was given up" if other.record.state == "given up" else ""))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(other.healthy.wait(), 1.0)

    async def _live(self) -> str:
        """One life, from start to end. Returns why it ended."""
        process = await self._start()
        try:
            ended = asyncio.ensure_future(process.wait())
            watch = asyncio.ensure_future(self._watch(process.pid))
            try:
                await asyncio.wait({ended, watch}, return_when=asyncio.FIRST_COMPLETED)
                if not ended.done():
                    return watch.result()
            finally:
                watch.cancel()
                ended.cancel()
            return _end_in_words(process.returncode)
        finally:
            self.healthy.clear()
            if not asyncio.current_task().cancelling():  # type: ignore[union-attr]
                # Whatever it had started must not stand in its successor's way.
                kill_group(process.pid)
                await process.wait()
                self._process = None
                self.record.pid = self.record.started_at = None

    async def _start(self) -> Process:
        self.record.healthy_after_seconds = None
        with self._home.log_file(self.spec.name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", str(Path(tether.__file__)), str(os.getpid()), *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **common_environment(), **self.spec.environment, RUN_VARIABLE: self._run_id},
            )  # fmt: skip
        self._process = process
        self.record.pid, self.record.started_at = process.pid, started_at(process.pid)
        self._say("starting")
        return process

    async def _watch(self, pid: int) -> str:
        """Follows the health of the running process. Returns when it must be ended, and why."""
        began = time.monotonic()
        failed, well_at = 0, None
        while True:
            now = time.monotonic()
            if await self.spec.probe(pid):
                failed, well_at = 0, time.monotonic()
                if self.record.healthy_after_seconds is None:
                    self.record.healthy_after_seconds = round(well_at - began, 2)
                self._say("healthy")
            elif well_at is None and now - began > self.spec.start_seconds:
                return f"not healthy within {self.spec.start_seconds:.0f} s"
            elif well_at is not None:
                failed += 1
                if failed >= SICK_PROBES:
                    self._say("unhealthy", f"no answer for {now - well_at:.0f} s")
                if now - well_at > HOPELESS_SECONDS:
                    return f"no answer for {now - well_at:.0f} s"
            await asyncio.sleep(FIRST_PROBE_SECONDS if well_at is None else PROBE_SECONDS)

    def _say(self, state: str, note: str = "") -> None:
        if state == "healthy":
            self.healthy.set()
        else:
            self.healthy.clear()
        if (self.record.state, self.record.note) != (state, note):
            self.record.state, self.record.note = state, note
            self._changed()


def _end_in_words(status: int | None) -> str:
    if status is None:
        return "ended"
    return f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
