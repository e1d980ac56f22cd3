"""Metrics of forked children at their parent's endpoint.

Each child writes what it counts to a file of a private folder, every few seconds and at its end, whole or not at all; the parent shows
all files with a label `corella_child`, which is a slot, 0 … most children alive at once, and not a process id. A child that takes the
place of another one takes its slot, by a lock that ends with the process, and overwrites its file: the series begins anew at zero, as
with any process that was restarted. What a child that ended has counted stays to be seen until then; what it gauged does not.

    parent, before it forks     children = ChildrenMetrics(settings.telemetry)
    each child                  shutdown = setup_telemetry(SERVICE, settings.telemetry, children=children)
    parent, when it runs        children.serve()
    parent, at its end          children.close()
"""

from __future__ import annotations

import atexit
import fcntl
import itertools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from services.chassis.metrics_endpoint import serve_metrics
from services.chassis.settings import TelemetrySettings
from services.chassis.telemetry_logs import get_logger

log = get_logger(__name__)

LABEL = "corella_child"
_WRITE_EVERY_SECONDS = 5.0
_GONE_AFTER_WRITES = 3
"""A child that has not written for so many times is gone."""


class ChildrenMetrics(Collector):
    """Made by the parent before it forks. Does nothing while `metrics_port` is 0."""

    def __init__(self, settings: TelemetrySettings, *, write_every_seconds: float = _WRITE_EVERY_SECONDS) -> None:
        self._settings = settings
        self._every_seconds = write_every_seconds
        self._folder = _private_folder() if settings.metrics_port else None
        self._parent = os.getpid()
        self._end: Callable[[], None] | None = None
        atexit.register(self.close)

    def serve(self) -> None:
        """In the parent: begins to serve `/metrics`."""
        if self._folder is not None and self._end is None:
            self._end = serve_metrics(self._settings, [self])

    def close(self) -> None:
        """In the parent, when its children have ended: ends the endpoint and removes the files. At exit it is done anyway."""
        if os.getpid() != self._parent:
            return
        if self._end is not None:
            self._end()
            self._end = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def report(self, collectors: Sequence[Collector]) -> Callable[[], None]:
        """In a child: writes what the collectors say until what this returns is called."""
        if self._folder is None:
            return lambda: None
        path, lock = _take_slot(self._folder)
        ended = threading.Event()

        def write() -> None:
            try:
                _write(path, itertools.chain.from_iterable(collector.collect() for collector in collectors))
            except OSError as error:
                log.warning("metrics_not_written", error=str(error))

        def keep_writing() -> None:
            while not ended.wait(self._every_seconds):
                write()

        writer = threading.Thread(target=keep_writing, name="metrics-of-child", daemon=True)
        writer.start()

        def end() -> None:
            ended.set()
            writer.join()
            write()
            os.close(lock)

        return end

    def collect(self) -> Iterator[Metric]:
        """In the parent: its own size and time, and the children's families, their samples labelled by slot."""
        families = {family.name: family for family in ProcessCollector(registry=None).collect()}
        for path in sorted(self._folder.glob("*.json")) if self._folder is not None else ():
            gone = time.time() - path.stat().st_mtime > self._every_seconds * _GONE_AFTER_WRITES
            for family in _read(path):
                if gone and family.type not in {"counter", "histogram"}:
                    continue
                known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type, family.unit))
                known.samples += [sample._replace(labels={**sample.labels, LABEL: path.stem}) for sample in family.samples]
        return iter(families.values())


def _private_folder() -> Path | None:
    try:
        return Path(tempfile.mkdtemp(prefix="corella-metrics-"))
    except OSError as error:
        log.error("metrics_of_children_not_kept", error=str(error))
        return None


def _take_slot(folder: Path) -> tuple[Path, int]:
    """The first file that no living process has, and what holds it: a record lock, which a process's own forks do not inherit."""
    for number in itertools.count():
        path = folder / f"{number}.json"
        lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
        else:
            return path, lock
    raise AssertionError("count() does not end")


def _write(path: Path, families: Iterable[Metric]) -> None:
    """Writes the families as JSON in place of what was there, in one step."""
    written: list[dict[str, Any]] = [
        {
            "name": family.name, "documentation": family.documentation, "type": family.type, "unit": family.unit,
            "samples": [(one.name, one.labels, one.value, one.exemplar) for one in family.samples],
        }
        for family in families
    ]  # fmt: skip
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(written), encoding="utf-8")
    fresh.replace(path)


def _read(path: Path) -> Iterator[Metric]:
    for one in json.loads(path.read_text(encoding="utf-8")):
        family = Metric(one["name"], one["documentation"], one["type"], one["unit"])
        family.samples = [
            Sample(name, labels, value, None, Exemplar(*exemplar) if exemplar else None) for name, labels, value, exemplar in one["samples"]
        ]
        yield family
