"""Starting the stack and showing how it comes up, in the foreground or behind."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from corella.cli.failures import UserError
from corella.cli.output import console, duration, line, size, write_json
from corella.local.home import Home, Ports, ProcessRecord, RunRecord
from corella.local.prepare_models import EMBEDDING_MODEL, GENERATION_MODEL, prepare
from corella.local.processes import find

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

NEEDED_MEMORY_BYTES = 7 * 10**9
"""Measured: 6.5 GB with the default models, 4.3 of them the generator, whose cache of 1 GB is a setting. A training takes 3 GB more."""
NEEDED_DISK_BYTES = 1 * 10**9
STYLES = {"healthy": "green", "starting": "yellow", "waiting": "dim", "restarting": "yellow", "given up": "red", "unhealthy": "red"}


class Starter:
    """One `corella up`."""

    def __init__(self, home: Path, port_base: int, *, as_json: bool) -> None:
        self._home = Home(home)
        self._base = port_base
        self._json = as_json
        self._out = console()
        self._said: dict[str, tuple[str, str]] = {}
        self._live: Live | None = None

    def start(self, *, detach: bool, wait_for: list[str]) -> None:
        """Starts, unless it runs already, and waits as asked."""
        record = self._running()
        if record is not None:
            if not self._json:
                self._out.print(f"Corella already runs in {self._home.path} (pid {record.supervisor_pid}).")
            if any(process.state == "given up" for process in record.processes):
                self._send_hangup(record)
            if detach or self._json:
                self._wait(None, wait_for)
            else:
                self._out.print("`corella status` shows how it is, `corella down` stops it.")
            return
        ports = Ports.from_base(self._base)
        check_ports(ports.numbers())
        self._say_needs()
        self._prepare_models()
        if detach:
            self._wait(self._spawn(), wait_for)
        else:
            self._foreground(ports)

    def _running(self) -> RunRecord | None:
        record = self._home.read()
        return record if record and find(record.supervisor_pid, record.supervisor_started_at) else None

    def _send_hangup(self, record: RunRecord) -> None:
        import signal

        process = find(record.supervisor_pid, record.supervisor_started_at)
        if process is not None:
            self._out.print("Trying again what was given up.")
            process.send_signal(signal.SIGHUP)
            # What follows must not read the state of before.
            time.sleep(1.0)

    def _say_needs(self) -> None:
        self._home.path.mkdir(parents=True, exist_ok=True)
        free_disk, memory = shutil.disk_usage(self._home.path).free, psutil.virtual_memory().available
        if not self._json:
            self._out.print(
                f"Starting Corella in {self._home.path}: needs about {size(NEEDED_MEMORY_BYTES)} of memory ({size(memory)} available) "
                f"and {size(NEEDED_DISK_BYTES)} of disk ({size(free_disk)} free); downloads nothing.",
                soft_wrap=True,
            )
        if memory < NEEDED_MEMORY_BYTES:
            console(error=True).print("Warning: there may be too little memory; processes that the system ends are started again.")
        if free_disk < NEEDED_DISK_BYTES:
            raise UserError(f"Too little disk: {size(free_disk)} are free.", hint="Make room, or choose another folder with --home.")

    def _prepare_models(self) -> None:
        if not all((self._home.models / name).exists() for name in (EMBEDDING_MODEL, GENERATION_MODEL)):
            prepare(self._home.models)

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._home.make()
        with self._home.log_file("supervisor").open("wb") as log:
            return subprocess.Popen(  # noqa: S603 our own module
                [sys.executable, "-m", "corella.local.supervisor", str(self._home.path), str(self._base)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _foreground(self, ports: Ports) -> None:
        from corella.local.supervisor import AlreadyRunning, Supervisor

        async def main() -> None:
            await Supervisor(self._home, ports, changed=self._show).run()

        with self._showing():
            try:
                asyncio.run(main())
            except AlreadyRunning as error:
                raise UserError(f"Corella already runs in {error}.") from error

    def _wait(self, supervisor: subprocess.Popen[bytes] | None, wait_for: list[str]) -> None:
        """Waits until the processes named (default: all) are healthy or one of them was given up."""
        with self._showing():
            while True:
                record = self._running()
                if record is not None:
                    self._show(record)
                    unknown = set(wait_for) - {process.name for process in record.processes}
                    if unknown:
                        raise UserError(f"There is no process {', '.join(sorted(unknown))}.", exit_code=2)
                    awaited = [process for process in record.processes if not wait_for or process.name in wait_for]
                    if any(process.state == "given up" for process in awaited):
                        break
                    if all(process.state == "healthy" for process in awaited):
                        return
                elif supervisor is None or supervisor.poll() is not None:
                    log = self._home.log_file("supervisor")
                    tail = "\n".join(log.read_text(errors="replace").splitlines()[-3:]) if log.exists() else ""
                    raise UserError("The supervisor ended before everything was healthy.", hint=tail or f"See {self._home.logs}.")
                time.sleep(0.2)
        given_up = [f"{process.name}: {process.note}" for process in awaited if process.state == "given up"]
        raise UserError(
            "Given up: " + "; ".join(given_up), hint="The rest keeps running; `corella up` tries again, `corella down` stops it."
        )

    @contextlib.contextmanager
    def _showing(self) -> Any:
        if self._json or not self._out.is_terminal:
            yield
            return
        from rich.live import Live

        # Transient while it changes; what is left on the screen is the last state.
        with Live(console=self._out, refresh_per_second=4, get_renderable=self._table) as live:
            self._live = live
            yield
        self._live = None

    _record: RunRecord | None = None

    def _show(self, record: RunRecord) -> None:
        self._record = record
        if self._live is not None:
            return
        for process in record.processes:
            if self._said.get(process.name) != (process.state, process.note):
                self._said[process.name] = (process.state, process.note)
                if self._json:
                    write_json({"process": process.name, "state": process.state, "pid": process.pid, "note": process.note})
                else:
                    self._out.print(f"{process.name:<14} {process.state:<10} {_remark(process)}".rstrip(), soft_wrap=True)

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("process", "state", "port", "pid", ""):
            table.add_column(heading)
        record = self._record
        for process in record.processes if record else []:
            port = record.ports.get(process.name) if record else None
            table.add_row(
                process.name, Text(process.state, style=STYLES.get(process.state, "")),
                str(port or ""), str(process.pid or ""), _remark(process),
            )  # fmt: skip
        return table


def _remark(process: ProcessRecord) -> str:
    if process.note:
        return line(process.note, 100)
    if process.state == "healthy" and process.healthy_after_seconds is not None:
        return f"after {duration(process.healthy_after_seconds)}" + (f", restarted {process.restarts} times" if process.restarts else "")
    if process.state == "starting" and process.started_at:
        return f"{time.time() - process.started_at:.0f} s"
    return ""


def check_ports(ports: dict[str, int]) -> None:
    """Raises `UserError` when somebody else listens on a port that is needed."""
    import socket

    from corella.local.processes import owner_of_port

    taken = []
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                owner = owner_of_port(port)
                taken.append(f"port {port} ({name})" + (f" by {owner}" if owner else ""))
    if taken:
        raise UserError(
            "Taken by another program: " + ", ".join(taken) + ".",
            hint="Stop that program, or choose other ports: corella up --port-base 51050",
            reason="PORT_TAKEN",
        )
