"""Runs the whole stack: `Supervisor(home, ports).run()`, in the foreground or as `python -m corella.local.supervisor HOME PORT_BASE`.

    SIGINT, SIGTERM   stop everything in order; a second one stops at once
    SIGHUP            try again what was given up

Nothing outlives it: the kernel tells each process when the supervisor dies (`tether`), and the warden ends what does not listen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO

from corella.local.home import Home, Ports, ProcessRecord, RunRecord
from corella.local.process import Keeper
from corella.local.processes import find, kill_all, remains, started_at
from corella.local.stack import ProcessSpec, local_stack, otlp_endpoints
from corella.local.warden import clear_up

log = logging.getLogger("corella.supervisor")
WARDEN_SECONDS = 60.0
"""Longest time a warden needs to clear up."""
Changed = Callable[[RunRecord], None]


class AlreadyRunning(Exception):
    """Another supervisor lives in this home."""


class Supervisor:
    """One run of the stack."""

    def __init__(self, home: Home, ports: Ports, specs: list[ProcessSpec] | None = None, changed: Changed | None = None) -> None:
        self._home = home
        self._notify = changed
        self.record = RunRecord(os.getpid(), started_at(os.getpid()) or 0.0, uuid.uuid4().hex, ports.numbers(), time.time())
        endpoints = set(otlp_endpoints(ports).values())
        self.record.otlp_endpoint = endpoints.pop() if len(endpoints) == 1 else ""
        self.keepers: dict[str, Keeper] = {}
        for spec in specs if specs is not None else local_stack(home, ports):
            process = ProcessRecord(spec.name)
            self.record.processes.append(process)
            self.keepers[spec.name] = Keeper(spec, home, self.record.run_id, process, self._changed)
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()

    async def run(self) -> None:
        """Runs until told to stop. Raises `AlreadyRunning` when this home has a supervisor."""
        lock = self._take_home()
        warden = self._start_warden()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._try_again)
        tasks = [
            asyncio.create_task(keeper.keep([self.keepers[name] for name in keeper.spec.after]), name=keeper.spec.name)
            for keeper in self.keepers.values()
        ]
        stop = asyncio.create_task(self._stop.wait())
        try:
            self._changed()
            # A task of a keeper ends only by a fault in this program, and then nothing may be left running unwatched.
            await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            await self._end(tasks)
            kill_all(remains(self.record.run_id))
            self._home.forget()
            lock.close()
            if warden.stdin is not None:
                warden.stdin.close()
            await asyncio.to_thread(warden.wait)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    def stop(self) -> None:
        """Asks for an orderly end."""
        self._stop.set()

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    def _try_again(self) -> None:
        for keeper in self.keepers.values():
            keeper.try_again()

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        self.record.state = "stopping"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for turn in sorted({keeper.spec.stop_turn for keeper in self.keepers.values()}):
            stopping = asyncio.gather(*(keeper.stop() for keeper in self.keepers.values() if keeper.spec.stop_turn == turn))
            hurry = asyncio.create_task(self._hurry())
            try:
                await stopping
            finally:
                hurry.cancel()

    async def _hurry(self) -> None:
        await self._stop_now.wait()
        for keeper in self.keepers.values():
            keeper.kill()

    def _changed(self) -> None:
        if self.record.state != "stopping":
            states = [process.state for process in self.record.processes]
            if all(state == "healthy" for state in states):
                self.record.state = "healthy"
            elif "given up" in states or self.record.state in {"healthy", "degraded"}:
                self.record.state = "degraded"
        self._home.write(self.record)
        if self._notify is not None:
            self._notify(self.record)

    def _take_home(self) -> IO[str]:
        self._home.make()
        until = time.monotonic() + WARDEN_SECONDS
        while True:
            # What a run that was killed together with its warden may have left.
            clear_up(self._home)
            lock = self._home.lock()
            if lock is not None:
                break
            other = self._home.read()
            if time.monotonic() > until or (other is not None and find(other.supervisor_pid, other.supervisor_started_at)):
                raise AlreadyRunning(str(self._home.path))
            # No supervisor, so it is the warden of a killed one, still at work.
            time.sleep(0.2)
        for name in self.keepers:
            file = self._home.log_file(name)
            if file.exists():
                file.replace(file.with_suffix(".log.1"))
        return lock

    def _start_warden(self) -> subprocess.Popen[bytes]:
        with self._home.log_file("warden").open("ab") as errors:
            return subprocess.Popen(  # noqa: S603 our own module
                [sys.executable, "-m", "corella.local.warden", str(self._home.path)],
                stdin=subprocess.PIPE, stdout=errors, stderr=errors, start_new_session=True,
            )  # fmt: skip


def main() -> None:
    """Runs the stack without a terminal: `HOME PORT_BASE`. Its log is standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    home, base = Home(Path(sys.argv[1])), int(sys.argv[2])
    try:
        asyncio.run(_main(home, Ports.from_base(base)))
    except AlreadyRunning:
        sys.exit(f"Corella already runs in {home.path}.")


async def _main(home: Home, ports: Ports) -> None:
    said: dict[str, tuple[str, str]] = {}

    def say(record: RunRecord) -> None:
        for process in record.processes:
            if said.get(process.name) != (process.state, process.note):
                said[process.name] = (process.state, process.note)
                log.info("%s", asdict(process))

    await Supervisor(home, ports, changed=say).run()


if __name__ == "__main__":
    main()
