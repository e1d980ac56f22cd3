"""Training on a real Ray cluster with two workers: what is killed goes on, and two workers learn what one learns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from opentelemetry.trace import format_span_id

sys.path.insert(0, str(Path(__file__).parents[1]))

from otlp_receiver import OtlpReceiver, otlp_receiver
from span_recording import recorded_spans
from tiny_training import make_plan

from services.chassis.settings import TelemetrySettings
from services.chassis.steps import step
from services.trainer.domain import SearchBudget
from services.trainer.leftovers import reap
from services.trainer.ray_search import search
from services.trainer.recipe import train
from services.trainer.settings import RaySettings
from services.trainer.training_events import Said, Stopped, TrainingEvent
from services.trainer.world import World

ROOT = Path(__file__).resolve().parents[2]
INTERVAL = 20


class Driver:
    """A driver in a process group of its own, and what it has heard."""

    def __init__(self, folder: Path, receiver: OtlpReceiver) -> None:
        self.receiver = receiver
        self.events = folder / "events.jsonl"
        self.events.touch()
        script = str(Path(__file__).parent / "training_driver.py")
        self._command = [sys.executable, script, str(folder / "plan.json"), str(self.events), receiver.endpoint]
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "driver.log"

    def start(self) -> None:
        """Starts the process."""
        with self._log.open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(self._command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """SIGKILL, to the process alone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def heard(self) -> list[Any]:
        """All events so far, of all processes."""
        return [json.loads(line) for line in self.events.read_text().splitlines() if line.endswith("]")]

    def wait_for(self, condition: Callable[[list[Any]], bool], seconds: float = 240) -> list[Any]:
        """Events once they fulfil `condition`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            events = self.heard()
            if condition(events):
                return events
            if self._process is not None and self._process.poll() not in {None, 0}:
                break
            time.sleep(0.1)
        pytest.fail(f"in vain; the last events: {self.heard()[-5:]}; {self._log.read_text()[-3000:]}")

    def below(self) -> list[psutil.Process]:
        """All processes it has started, directly or not."""
        assert self._process is not None
        return psutil.Process(self._process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """The training workers below it."""
        return [process for process in self.below() if "RayTrainWorker" in " ".join(process.cmdline())]


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A driver that is not left behind."""
    with otlp_receiver() as receiver:
        made = Driver(tmp_path, receiver)
        yield made
        made.kill()
    reap()


def steps(events: list[Any]) -> list[int]:
    """Numbers of the steps, in the order they were heard."""
    return [event[1] for event in events if event[0] == "step"]


def resumed(events: list[Any]) -> list[int]:
    """After which steps it went on."""
    return [event[1] for event in events if event[0] == "resumed"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_and_a_killed_driver_cost_at_most_one_checkpoint_interval(driver: Driver, tmp_path: Path) -> None:
    """Starts a Ray cluster twice, which takes ten seconds each time on a machine that does nothing else."""
    plan = make_plan(tmp_path, learning_rate=2e-3, epochs=18.0, batch_tokens=512, checkpoint_steps=INTERVAL, worker_count=2)
    (tmp_path / "plan.json").write_text(plan.to_json())

    driver.start()
    driver.wait_for(lambda events: max(steps(events), default=0) >= INTERVAL + 5)
    worker = driver.workers()[-1]
    os.kill(worker.pid, signal.SIGKILL)
    events = driver.wait_for(lambda events: len(resumed(events)) == 1)
    before = max(steps(events[: events.index(["resumed", resumed(events)[0]])]))
    assert 0 <= before - resumed(events)[0] <= INTERVAL

    driver.wait_for(lambda events: max(steps(events)) >= resumed(events)[0] + 2 * INTERVAL)
    cluster = driver.below()
    assert len(cluster) > 5
    driver.kill()
    before = max(steps(driver.heard()))
    _, left = psutil.wait_procs(cluster, timeout=30)
    assert not left, f"a killed driver left {left}"

    driver.start()
    events = driver.wait_for(lambda events: events[-1][0] == "ended" if events else False)
    assert len(resumed(events)) == 2
    assert 0 <= before - resumed(events)[1] <= INTERVAL

    # The same plan by one worker, without Ray, and never interrupted. Two workers add the same gradients up in another order.
    alone = train(replace(plan, output_url=str(tmp_path / "alone")), World(threads=1))
    _, validation, losses, result = events[-1]
    assert len(losses) == len(alone.steps)
    assert losses[0] == pytest.approx(alone.steps[0].training_loss, rel=1e-3)
    assert losses[:40] == pytest.approx([each.training_loss for each in alone.steps[:40]], rel=0.02)
    assert validation == pytest.approx(alone.final_validation_loss, rel=0.05)
    assert (Path(result) / "adapter_model.safetensors").is_file()

    # The attempt that ended well is one trace: both workers' spans below the driver's, though Ray ends their processes at once.
    spans = driver.receiver.until(lambda spans: any(span.name == "train" for span in spans), 20)
    trained = next(span for span in spans if span.name == "train")
    workers = [span for span in spans if span.name == "train worker" and span.trace_id == trained.trace_id]
    assert {(span.service, span.parent_id) for span in workers} == {("corella-trainer-ray-worker", trained.span_id)}
    assert sorted(span.attributes["corella.worker.rank"] for span in workers) == [0, 1]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_finds_a_learning_rate_that_learns(tmp_path: Path) -> None:
    """Starts a Ray cluster. The plan's own rate learns next to nothing; the search is told to look higher."""
    plan = make_plan(tmp_path, learning_rate=3e-4, epochs=3.0)
    heard: list[TrainingEvent] = []
    budget = SearchBudget(trials=3, seconds=200)
    with otlp_receiver() as receiver, recorded_spans(), step("search settings") as span:
        telemetry = TelemetrySettings(otlp_endpoint=receiver.endpoint)
        trials = search(plan, budget, RaySettings(), heard.append, lambda: False, direction="higher", telemetry=telemetry)
        tried = [each for each in receiver.spans if each.name == "train trial"]
    # Trials share processes, and those that are stopped early say so too.
    assert {each.parent_id for each in tried} == {format_span_id(span.get_span_context().span_id)}
    assert len({each.attributes["corella.training.trial"] for each in tried}) >= 1
    start = train(replace(plan, output_url=str(tmp_path / "alone")), World(threads=1)).final_validation_loss
    assert 1 <= len(trials) <= 3
    assert [trial.validation_loss for trial in trials] == sorted(trial.validation_loss for trial in trials)
    best = trials[0]
    assert best.settings.learning_rate > plan.settings.learning_rate
    assert best.validation_loss < 0.9 * start
    assert sum(isinstance(event, Said) and "learning rate" in event.text for event in heard) >= len(trials)
    # Nothing of the trials is kept, and nothing runs on.
    assert not (Path(plan.output_url) / "search").exists()
    assert not [each for each in psutil.Process().children(recursive=True) if "raylet" in each.name()]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_stops_when_it_is_told_to(tmp_path: Path) -> None:
    """Starts a Ray cluster."""
    plan = make_plan(tmp_path, epochs=400.0)
    heard: list[TrainingEvent] = []
    with pytest.raises(Stopped):
        search(plan, SearchBudget(trials=2, seconds=200), RaySettings(), heard.append, lambda: any("Trial" in str(each) for each in heard))
