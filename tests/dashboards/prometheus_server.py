"""A real Prometheus server for tests: scrapes the processes of a local run every second and answers queries."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

NAMESPACE = "corella"
SCRAPE_SECONDS = 1


def tool(name: str) -> Path:
    """A program of Prometheus' package, where `make chart-tools` puts it or on PATH. Skips the test where there is none."""
    found = shutil.which(name, path=str(Path(__file__).parents[2] / ".venv/tools")) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: `make chart-tools` fetches it")
    return Path(found)


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    port: int

    def get(self, path: str, **parameters: str) -> Any:
        """What the API answers. Raises AssertionError with the server's words where it refuses."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.read().decode()}: {parameters}") from error

    def query(self, expression: str) -> list[float]:
        """The values of an instant query that are numbers."""
        found = self.get("query", query=expression)
        values = [found["result"]] if found["resultType"] == "scalar" else [series["value"] for series in found["result"]]
        return [float(value) for _, value in values if value != "NaN"]

    def metrics(self) -> set[str]:
        """The names of all metrics scraped."""
        return set(self.get("label/__name__/values"))

    def exemplars(self, histogram: str) -> list[dict[str, str]]:
        """The labels of exemplars of a histogram in the last minutes."""
        found = self.get("query_exemplars", query=f"{histogram}_bucket", start=f"{time.time() - 600:.0f}", end=f"{time.time() + 60:.0f}")
        return [exemplar["labels"] for series in found for exemplar in series["exemplars"]]


@contextmanager
def prometheus(program: Path, folder: Path, targets: Mapping[str, int]) -> Iterator[Prometheus]:
    """Scrapes `targets`, ports on loopback by name, as a PodMonitor would have it: with the labels `namespace` and `instance`."""
    jobs = [
        {
            "job_name": name,
            "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": NAMESPACE}}],
        }
        for name, port in targets.items()
    ]
    configuration = {"global": {"scrape_interval": f"{SCRAPE_SECONDS}s"}, "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(program), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as server:
        try:
            made = Prometheus(port)
            _wait_until_it_answers(made, server, folder / "prometheus.log")
            yield made
        finally:
            server.terminate()


def _wait_until_it_answers(made: Prometheus, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            made.get("status/buildinfo")
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"Prometheus does not answer: {log.read_text()}")


_INSTRUMENT = re.compile(
    r"(?:create_(?:counter|histogram|up_down_counter|gauge|observable_\w+)|\.(?:gauge|counter))\(\s*\"(?P<name>[a-z][\w.]+)\""
    r"(?:\s*,\s*(?:unit=)?\"(?P<unit>[^\"]*)\")?"
)


def declared_metrics(sources: Path) -> set[str]:
    """The names that instruments declared in the code have for Prometheus, with the endings of counters and histograms."""
    from services.chassis.metrics_prometheus import prometheus_unit

    names: set[str] = set()
    for path in sources.rglob("*.py"):
        text = path.read_text()
        for found in _INSTRUMENT.finditer(text):
            # The unit may stand behind other arguments.
            unit = found["unit"] or next(
                iter(re.findall(r"unit=\"([^\"]*)\"", text[found.end() : found.end() + 300].split("create_")[0])), ""
            )
            name = found["name"].replace(".", "_")
            suffix = prometheus_unit(unit)
            name = name if not suffix or name.endswith(f"_{suffix}") else f"{name}_{suffix}"
            names |= {name + ending for ending in ("", "_total", "_bucket", "_sum", "_count")}
    return names
