"""On a terminal a training is a live display that leaves only the outcome; Ctrl-C ends the watching and nothing else."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from corella.v1 import trainer_pb2, trainer_pb2_grpc

NAME = "jobs/j1"
# Whatever runs the tests may have Ctrl-C ignored, which children inherit.
COMMAND = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from corella.cli.main import run; run()"


class Steps(trainer_pb2_grpc.TrainerServiceServicer):
    """Trains for five steps, or without an end."""

    def __init__(self) -> None:
        self.endless = False
        self.cancelled = False
        self.pause = threading.Event()

    def CreateJob(self, request: Any, context: Any) -> Any:
        return trainer_pb2.CreateJobResponse(job=trainer_pb2.Job(name=NAME, state=trainer_pb2.JOB_STATE_QUEUED))

    def WatchJob(self, request: Any, context: Any) -> Iterator[Any]:
        step = 0
        while (self.endless or step < 5) and context.is_active():
            step += 1
            progress = trainer_pb2.JobProgress(phase="training", step=step, total_steps=10, training_loss=3.0 / step)
            job = trainer_pb2.Job(name=NAME, state=trainer_pb2.JOB_STATE_RUNNING, progress=progress)
            yield trainer_pb2.WatchJobResponse(job=job, steps=[trainer_pb2.JobStep(step=step, training_loss=3.0 / step)])
            self.pause.wait(0.2)
        yield trainer_pb2.WatchJobResponse(job=trainer_pb2.Job(name=NAME, state=trainer_pb2.JOB_STATE_SUCCEEDED))

    def CancelJob(self, request: Any, context: Any) -> Any:
        self.cancelled = True
        return trainer_pb2.CancelJobResponse()

    def GetJobReport(self, request: Any, context: Any) -> Any:
        return trainer_pb2.GetJobReportResponse(markdown="# Report\n")


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def watched(steps: Steps, tmp_path: Path) -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs the command on a terminal; with `until`, sends Ctrl-C once that is seen. Returns exit status and all that was shown."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trainer_pb2_grpc.add_TrainerServiceServicer_to_server(steps, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    environment = os.environ | {
        "CORELLA_TRAINER": f"127.0.0.1:{port}", "CORELLA_HOME": str(tmp_path), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40",
    }  # fmt: skip

    def run(*arguments: str, until: str = "") -> tuple[int, str]:
        master, slave = pty.openpty()
        command = [sys.executable, "-c", COMMAND, *arguments]
        process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=tmp_path)
        os.close(slave)
        # Nothing may keep the test waiting for ever.
        alarm = threading.Timer(30, process.kill)
        alarm.start()
        seen = b""
        interrupted = not until
        try:
            while piece := os.read(master, 65536):
                seen += piece
                if not interrupted and until.encode() in seen:
                    process.send_signal(signal.SIGINT)
                    interrupted = True
        except OSError:
            pass
        finally:
            os.close(master)
        status = process.wait(10)
        alarm.cancel()
        return status, seen.decode()

    yield run
    steps.pause.set()
    server.stop(0)


def test_bar_and_losses_are_drawn_and_only_the_outcome_stays(watched: Callable[..., tuple[int, str]]) -> None:
    status, seen = watched("train", "d1")
    assert status == 0
    assert "━" in seen
    assert "/10" in seen
    assert "█" in seen
    last = seen[seen.rindex("\x1b[2K") :]
    assert "Accepted." in last
    assert "Report: reports/j1/report.md" in last
    assert "━" not in last


def test_ctrl_c_ends_the_watching_and_says_how_to_go_on(watched: Callable[..., tuple[int, str]], steps: Steps) -> None:
    steps.endless = True
    status, seen = watched("train", "d1", until="/10")
    assert status == 130
    assert "`corella jobs watch j1` shows it" in seen
    assert "Traceback" not in seen
    assert not steps.cancelled
