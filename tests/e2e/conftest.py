"""The whole stack, once for all end-to-end tests: real processes on free ports, in a home of its own, driven by the `corella` command."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from corella.client import Addresses, Corella
from corella.local.home import Home, Ports, RunRecord
from corella.local.processes import remains

sys.path.insert(0, str(Path(__file__).parents[1]))

from otlp_receiver import OtlpReceiver, otlp_receiver

from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
OUTSIDE = Path(tempfile.mkdtemp(prefix="corella-e2e-"))
SECRETS, IMPORTS = OUTSIDE / "secrets", OUTSIDE / "imports"


@dataclass
class Stack:
    """A running stack."""

    home: Home
    receiver: OtlpReceiver
    """Gets the spans of all processes and commands, and hands them on to the stack's own store."""
    secrets: Path = SECRETS
    """Folder of the deployment's secrets."""
    imports: Path = IMPORTS
    """Folder below which directories may be read."""

    def corella(
        self, *arguments: str, ok: int | None = 0, text: str | None = None, timeout: float = 120, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command against this stack. `ok` is the exit status expected; None: any. `variables` are added to its environment."""
        done = subprocess.run(
            [str(Path(sys.executable).parent / "corella"), "--home", str(self.home.path), *arguments],
            input=text or "", capture_output=True, text=True, timeout=timeout, env=environment() | (variables or {}), cwd=ROOT,
            check=False,
        )  # fmt: skip
        assert ok is None or done.returncode == ok, f"corella {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str, ok: int | None = 0, timeout: float = 120) -> list[Any]:
        """The lines of JSON that a command writes."""
        return [json.loads(line) for line in self.corella(*arguments, "--json", ok=ok, timeout=timeout).stdout.splitlines()]

    def ask(self, question: str, *options: str) -> dict[str, Any]:
        """The events of an answer, by kind; the deltas joined."""
        events: dict[str, Any] = {"delta": ""}
        for event in self.json("ask", question, *options):
            kind, content = next(iter(event.items()))
            if kind == "delta":
                events["delta"] += content["text"]
            else:
                events[kind] = content
        return events

    def client(self) -> Corella:
        """A Python client of this stack."""
        return Corella(Addresses(**self.home.addresses()))

    def record(self) -> RunRecord:
        """What the supervisor says now."""
        record = self.home.read()
        assert record is not None
        return record

    def wait_until_healthy(self, name: str, *, other_than: int | None, seconds: float = 60) -> None:
        """Waits until a process is healthy under another pid."""
        deadline = time.monotonic() + seconds * PATIENCE
        while time.monotonic() < deadline:
            process = self.record().process(name)
            if process.state == "healthy" and process.pid not in (None, other_than):
                return
            time.sleep(0.1)
        raise AssertionError(f"{name} did not come back within {seconds * PATIENCE} s: {self.record().process(name)}")


def environment() -> dict[str, str]:
    """The environment without settings of another stack. The gate measures costs on few questions: each takes seconds, one at a time."""
    mine = {key: value for key, value in os.environ.items() if not key.startswith("CORELLA_")}
    return mine | {
        "COLUMNS": "200",
        "CORELLA_TRAINER_GATE__COST_QUESTIONS": "3",
        "CORELLA_TRAINER_GATE__SCORED_EXAMPLES": "4",
        # The tests' own servers of pages and tickets are on this machine, which sources may not reach otherwise.
        "CORELLA_RETRIEVER_FETCH__ALLOWED_HOSTS": '["127.0.0.1"]',
        "CORELLA_RETRIEVER_SECRETS_FOLDER": str(SECRETS),
        "CORELLA_RETRIEVER_IMPORT_ROOTS": f'["{IMPORTS}"]',
    }


def free_port_base() -> int:
    """A number after which the ports of a stack are free."""
    for base in range(20_000, 32_000, 50):
        try:
            for port in Ports.from_base(base).numbers().values():
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


@pytest.fixture(scope="session")
def receiver() -> Iterator[OtlpReceiver]:
    """Where the spans of the whole stack go."""
    with otlp_receiver() as made:
        yield made


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, receiver: OtlpReceiver) -> Iterator[Stack]:
    """Everything, healthy. At the end everything is stopped, and nothing may be left."""
    home = Home(tmp_path_factory.mktemp("e2e") / "home")
    home.path.mkdir()
    SECRETS.mkdir()
    IMPORTS.mkdir()
    # Prepared once by `make setup`.
    home.models.symlink_to(ROOT / ".corella/models")
    made = Stack(home, receiver)
    try:
        # Commands find it in the record of the run.
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        made.corella("up", "--detach", "--port-base", str(free_port_base()), timeout=400, variables=traced)
        receiver.forward_to = f"127.0.0.1:{made.record().ports['traces']}"
        run_id = made.record().run_id
        yield made
        made.corella("down", timeout=120)
        assert remains(run_id) == [], "processes are left after `corella down`"
    finally:
        made.corella("down", ok=None, timeout=200)
        shutil.rmtree(OUTSIDE)
        for log in home.logs.glob("*.log"):
            print(f"--- the end of {log.name}\n{log.read_text(errors='replace')[-800:]}")


@pytest.fixture(scope="session")
def samples(stack: Stack) -> dict[str, Any]:
    """The sample pages and tickets in the corpus `default`. What `corella ingest --json` said."""
    [told] = stack.json("ingest", str(SAMPLES / "pages"), str(SAMPLES / "tickets"))
    return told
