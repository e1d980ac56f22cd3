"""The folder of a local run and what is written there.

.corella/
  models/     prepared once
  milvus/     the store           valkey/  queue, catalog, conversations
  blobs/      documents as they came
  shelf/      datasets, checkpoints, reports and adapters, shared by trainer and generator
  secrets/    keys made here, readable by their owner only
  logs/       one file a process, the run before it as *.log.1
  traces/     the newest traces, which `corella trace` shows
  run.json    what runs now: ports, process ids and when they began
  lock        held as long as a supervisor lives
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

SERVICES = ("embedder", "retriever", "generator", "trainer")
WITH_METRICS = ("embedder", "retriever", "generator", "trainer", "worker", "retriever-beat", "trainer-worker", "trainer-beat")
"""Processes with a Prometheus endpoint, in the order of their ports."""


@dataclass(frozen=True)
class Ports:
    """The TCP ports of a local run, all on 127.0.0.1."""

    embedder: int
    retriever: int
    generator: int
    trainer: int
    milvus: int
    valkey: int
    traces: int
    metrics: Mapping[str, int]
    """Of the Prometheus endpoints, by process."""

    @classmethod
    def from_base(cls, base: int = 15050) -> Ports:
        """The services at base + 1 to base + 4, Milvus, Valkey and the traces at base + 10 to + 12, metrics at base + 21 to base + 28.

        The default lies below the ports that kernels hand to outgoing connections (Linux: 32768 on), one of which would otherwise now and
        then hold a port that a process needs.
        """
        metrics = {name: base + 21 + place for place, name in enumerate(WITH_METRICS)}
        return cls(base + 1, base + 2, base + 3, base + 4, base + 10, base + 11, base + 12, metrics)

    def numbers(self) -> dict[str, int]:
        """Port by name; that of a process's metrics is called `embedder metrics`."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "metrics"}
        return own | {f"{name} metrics": port for name, port in self.metrics.items()}


@dataclass
class ProcessRecord:
    """One process of a run, as it stands."""

    name: str
    state: str = "waiting"
    """waiting, starting, healthy, unhealthy, restarting, given up, stopping, or stopped."""
    pid: int | None = None
    started_at: float | None = None
    """When the kernel says the process began (seconds since 1970): together with the pid it names a process for good."""
    healthy_after_seconds: float | None = None
    restarts: int = 0
    note: str = ""


@dataclass
class RunRecord:
    """What a supervisor says about its run."""

    supervisor_pid: int
    supervisor_started_at: float
    run_id: str
    """In the environment of everything this run started."""
    ports: dict[str, int]
    begun_at: float
    state: str = "starting"
    """starting, healthy, degraded (something is down or was given up), stopping."""
    otlp_endpoint: str = ""
    """Where all services send their traces; empty when they send them to different places, or nowhere."""
    processes: list[ProcessRecord] = field(default_factory=list)

    def process(self, name: str) -> ProcessRecord:
        """The record of that name."""
        return next(process for process in self.processes if process.name == name)


class Home:
    """The folder of one local run."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.models = self.path / "models"
        self.milvus = self.path / "milvus"
        self.valkey = self.path / "valkey"
        self.blobs = self.path / "blobs"
        self.generator = self.path / "generator"
        self.shelf = self.path / "shelf"
        self.logs = self.path / "logs"
        self.traces = self.path / "traces"
        self.record_file = self.path / "run.json"

    def make(self) -> None:
        """Makes the folders. Their content is nobody else's business."""
        private = (self.milvus, self.valkey, self.blobs, self.generator, self.shelf, self.logs, self.traces)
        for folder in (self.path, *private):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in private:
            folder.chmod(0o700)

    def log_file(self, process: str) -> Path:
        """The log of a process."""
        return self.logs / f"{process}.log"

    def read(self) -> RunRecord | None:
        """The run as last recorded; None when there is none or it cannot be read."""
        try:
            raw: dict[str, Any] = json.loads(self.record_file.read_text())
            processes = [ProcessRecord(**process) for process in raw.pop("processes")]
            return RunRecord(processes=processes, **raw)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, record: RunRecord) -> None:
        """Records the run; a reader sees the old record or the new one, never half of one."""
        partial = self.record_file.with_suffix(".json.partial")
        partial.write_text(json.dumps(asdict(record), indent=1))
        partial.replace(self.record_file)

    def forget(self) -> None:
        """Removes the record."""
        self.record_file.unlink(missing_ok=True)

    def addresses(self) -> dict[str, str]:
        """Addresses of the services of the recorded run, by name; empty when nothing is recorded."""
        record = self.read()
        return {} if record is None else {name: f"127.0.0.1:{record.ports[name]}" for name in SERVICES if name in record.ports}

    def lock(self) -> IO[str] | None:
        """Takes this home for one supervisor; None when another one has it. Held until the file is closed or the process ends."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = (self.path / "lock").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        # A child that inherited it would hold the lock after the supervisor's end.
        os.set_inheritable(file.fileno(), False)
        return file

    def is_locked(self) -> bool:
        """Whether a supervisor lives here."""
        if not (self.path / "lock").exists():
            return False
        file = self.lock()
        if file is None:
            return True
        file.close()
        return False
