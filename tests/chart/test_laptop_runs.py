"""The rendered laptop profile, started as processes: a document comes in, a question is answered with a citation, nobody without a token.

Slow because ten processes start, one of them vLLM: two minutes on two cores.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubelet import Node, long_running
from pod_view import Place, decoded
from rendering import ROOT, ValueSet, render
from workloads import pods, port_numbers

pytestmark = [pytest.mark.chart, pytest.mark.e2e, pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(1200)]

PAGE = ROOT / "samples/pages/faq/hollin-desk.md"
QUESTION, GOLD = "Where are the data of Hollin Desk stored?", "Ireland"
OFFSETS = (1, 2, 3, 4, 10, 11, *range(21, 29), *range(31, 35))


def free_port_base() -> int:
    """A number after which the ports of a release are free."""
    for base in range(17050, 31000, 100):
        try:
            for offset in OFFSETS:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("0.0.0.0", base + offset))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


class Release:
    """A release that runs, and the command line beside it."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node, self._folder = node, folder
        self.ports = {pod.component: port_numbers(pod.main) for pod in pods(node.place.rendering)}

    def corella(self, *arguments: str, token: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs the command as a person does from outside, with the release's admin token or without one."""
        addresses = {
            f"CORELLA_{name.upper()}": f"127.0.0.1:{self.ports[name]['grpc']}" for name in ("embedder", "retriever", "generator", "trainer")
        }
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "CORELLA_HOME": str(self._folder),
            "COLUMNS": "200",
            **addresses,
        }
        if token:
            file = self._folder / "admin-token"
            file.write_text(next(iter(self.node.place.secrets.values()))["admin-token"])
            environment["CORELLA_TOKEN_FILE"] = str(file)
        command = [str(Path(sys.executable).parent / "corella"), *arguments]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The laptop profile with all its pods, ready; at the end each ends by itself within the time it has."""
    folder = tmp_path_factory.mktemp("release")
    base = free_port_base()
    rendering = render(ValueSet(f"started-at-{base}", "laptop", {"portBase": base}))
    made = subprocess.run([str(Path(sys.executable).parent / "corella"), "secrets"], capture_output=True, text=True, check=True)
    secret: dict[str, Any] = json.loads(made.stdout)
    node = Node(Place(folder, rendering, {secret["metadata"]["name"]: decoded(secret)}))
    lay_models(node)
    try:
        for pod in long_running(rendering):
            node.start(pod)
        node.wait_until_ready()
        yield Release(node, folder)
    finally:
        ended = node.stop()
        for container in node.running:
            print(f"--- {container.name}: {container.restarts} restarts; the end of its log\n{container.log_end()}")
    assert ended == dict.fromkeys(ended, 0), "by itself, in time, and with status 0"


def lay_models(node: Node) -> None:
    """The models as `make setup` has prepared them lie on the volume: the init step runs, and finds that there is nothing to fetch."""
    for pod in long_running(node.place.rendering):
        for volume in pod.spec.get("volumes", []):
            if volume["name"] == "models":
                folder = node.place.folder / "claims" / volume["persistentVolumeClaim"]["claimName"]
                folder.mkdir(parents=True, exist_ok=True)
                for model in (ROOT / ".corella/models").iterdir():
                    if model.is_dir() and not (folder / model.name).exists():
                        (folder / model.name).symlink_to(model)


def test_a_question_is_answered_with_a_citation(release: Release) -> None:
    ingested = release.corella("ingest", str(PAGE))
    assert ingested.returncode == 0, ingested.stdout + ingested.stderr
    asked = release.corella("ask", "--json", QUESTION)
    assert asked.returncode == 0, asked.stdout + asked.stderr
    answer = next(event["citations"]["answer"] for event in map(json.loads, asked.stdout.splitlines()) if "citations" in event)
    assert GOLD in answer["text"]
    assert any(PAGE.name in citation["uri"] for citation in answer["citations"])


@pytest.mark.parametrize("command", [("ask", QUESTION), ("documents", "list"), ("jobs", "list")], ids=["generator", "retriever", "trainer"])
def test_nobody_is_served_without_a_token(release: Release, command: tuple[str, ...]) -> None:
    refused = release.corella(*command, token=False)
    assert refused.returncode != 0
    assert "UNAUTHENTICATED" in (refused.stdout + refused.stderr).upper() or "token" in refused.stderr, refused.stderr


def test_the_pod_of_helm_test_asks_its_question(release: Release) -> None:
    [pod] = [pod for pod in pods(release.node.place.rendering) if pod.is_test]
    done = release.node.run(pod, seconds=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_is_as_it_was_started(release: Release) -> None:
    """Nothing has ended and been begun again, except what had to wait for a store that was not there yet."""
    restarts = {container.name: container.restarts for container in release.node.running if container.restarts}
    assert sum(restarts.values()) <= 4, restarts
    assert all(container.is_ready() for container in release.node.running)


def test_metrics_are_where_they_are_said_to_be(release: Release) -> None:
    for component, ports in release.ports.items():
        if "metrics" in ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports['metrics']}/metrics", timeout=10) as answer:
                assert answer.read().strip(), component
