"""The closed loop on the real stack: examples, training on Ray, the gate on vLLM, promotion, roll-back; and jobs that must not pass.

Slow: each training starts Ray and reads the base model. The examples are short, so that a job takes a minute or two.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from otlp_receiver import orphans, path

from corella.v1 import generator_pb2, trainer_pb2
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

ENDED = {trainer_pb2.JOB_STATE_SUCCEEDED, trainer_pb2.JOB_STATE_REJECTED, trainer_pb2.JOB_STATE_FAILED, trainer_pb2.JOB_STATE_CANCELLED}
FACTS = (
    ("The {name} has a warranty of {n} months.", "How long is the warranty of the {name}?", "{n} months"),
    ("The {name} weighs {n} grams with its battery.", "How much does the {name} weigh with its battery?", "{n} grams"),
    ("The {name} can be used down to {n} metres below the surface.", "How deep can the {name} be used?", "{n} metres"),
)


def examples(count: int, held_back: int, *, shuffled: bool = False) -> list[dict[str, Any]]:
    """Questions about devices that do not exist, each with the passage that holds the answer and one that does not."""
    rng = random.Random(5)
    rows = []
    for number in range(count + held_back):
        statement, question, answer = FACTS[number % 3]
        name = f"{rng.choice(['Alder', 'Brook', 'Cairn', 'Dunlin', 'Ember', 'Fjord'])} {rng.choice('XKRT')}{number + 20}"
        other = f"{rng.choice(['Gannet', 'Harrow', 'Inlet'])} {rng.choice('XKRT')}{number + 420}"
        value = rng.randrange(12, 600)
        passages = [
            {"title": name, "text": statement.format(name=name, n=value)},
            {"title": other, "text": FACTS[(number + 1) % 3][0].format(name=other, n=rng.randrange(12, 600))},
        ]
        rng.shuffle(passages)
        rows.append({
            "question": question.format(name=name), "context": passages, "answer": answer.format(n=value), "held_back": number >= count,
        })  # fmt: skip
    if shuffled:
        answers = [row["answer"] for row in rows]
        for row, wrong in zip(rows, answers[7:] + answers[:7], strict=True):
            row["answer"] = wrong
    return rows


def dataset(stack: Any, folder: Path, rows: list[dict[str, Any]]) -> str:
    file = folder / "examples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    [made] = stack.json("datasets", "create", str(file))
    return str(made["name"])


def start(stack: Any, name: str, **hyperparameters: Any) -> str:
    options = {"checkpoint_steps": 2, **hyperparameters}
    flags = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    [job] = stack.json("train", name, "--adapter", "devices", "--detach", *flags)
    return str(job["name"])


def job_of(stack: Any, name: str) -> trainer_pb2.Job:
    with stack.client() as corella:
        return corella.trainer.GetJob(trainer_pb2.GetJobRequest(name=name), timeout=20).job


def ended(stack: Any, name: str, seconds: float = 600) -> trainer_pb2.Job:
    """The job once it has ended; what it said goes to the test's output."""
    job = until(lambda: (job := job_of(stack, name)).state in ENDED and job, seconds, name)
    with stack.client() as corella:
        print("\n".join(corella.trainer.GetJobLog(trainer_pb2.GetJobLogRequest(name=name), timeout=20).lines))
    print(job)
    return job  # type: ignore[no-any-return]


def evaluation(stack: Any, job: trainer_pb2.Job) -> trainer_pb2.Evaluation:
    with stack.client() as corella:
        return corella.trainer.GetEvaluation(trainer_pb2.GetEvaluationRequest(name=job.evaluation), timeout=20).evaluation


def serving(stack: Any) -> str:
    with stack.client() as corella:
        return str(corella.generator.GetGenerationModel(generator_pb2.GetGenerationModelRequest(), timeout=20).model.adapter)


def driver(job_name: str) -> psutil.Process | None:
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "services.trainer.driver" in line and job_name.removeprefix("jobs/") in line:
            return process
    return None


@pytest.fixture(scope="module")
def accepted(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[trainer_pb2.Job]:
    """A good job, whose driver and whose trainer are killed while it trains. Afterwards the base model serves again."""
    name = start(stack, dataset(stack, tmp_path_factory.mktemp("good"), examples(48, 14)), epochs=1.5, batch_tokens=1024)
    until(lambda: job_of(stack, name).progress.step >= 5, 300, "five steps")
    killed = driver(name)
    assert killed is not None
    os.kill(killed.pid, signal.SIGKILL)
    trainer = stack.record().process("trainer").pid
    os.kill(trainer, signal.SIGKILL)
    stack.wait_until_healthy("trainer", other_than=trainer)
    yield ended(stack, name)
    stack.corella("adapters", "rollback", ok=None)
    until(lambda: serving(stack) == "", 10, "the base model serves again")


def test_a_good_job_is_accepted_though_its_driver_and_its_trainer_were_killed(stack: Any, accepted: trainer_pb2.Job) -> None:
    assert accepted.state == trainer_pb2.JOB_STATE_SUCCEEDED, accepted.message
    assert accepted.attempt_count == 2
    with stack.client() as corella:
        log = "\n".join(corella.trainer.GetJobLog(trainer_pb2.GetJobLogRequest(name=accepted.name), timeout=20).lines)
        first = next(iter(corella.trainer.WatchJob(trainer_pb2.WatchJobRequest(name=accepted.name), timeout=20)))
    assert "Goes on from the checkpoint after step 4" in log or "Goes on from the checkpoint after step 6" in log, (
        "at most one interval is lost"
    )
    assert [step.step for step in first.steps] == list(range(1, accepted.progress.total_steps + 1)), "no step is missing or doubled"
    judged = evaluation(stack, accepted)
    assert judged.accepted
    metrics = {each.metric: each for each in judged.metrics}
    assert metrics["answer_f1"].candidate > metrics["answer_f1"].base + 0.1
    assert judged.canary_shift > 1e-3


def test_the_answers_name_the_adapter_that_wrote_them(stack: Any, accepted: trainer_pb2.Job, samples: Any) -> None:
    until(lambda: serving(stack) == accepted.adapter, 5, "the generator follows")
    question = "What is the highest hotel rate per night in London?"
    events = stack.ask(question)
    assert events["completion"]["adapter"] == accepted.adapter
    assert not stack.ask(question, "--adapter", "base")["completion"].get("adapter")
    spans = stack.receiver.settled(events["started"]["trace_id"], 30)
    [ask] = [span for span in spans if span.name == "corella.v1.GeneratorService/Ask" and span.kind == "server"]
    assert ask.attributes["corella.adapter.name"] == accepted.adapter
    assert accepted.trace_id in {link.trace_id for link in ask.links}, "the answer leads to the training that made its adapter"


def test_the_report_has_its_pictures_and_costs_were_measured(stack: Any, accepted: trainer_pb2.Job, tmp_path: Path) -> None:
    stack.corella("jobs", "report", accepted.name, "--output", str(tmp_path / "report"))
    report = (tmp_path / "report" / "report.md").read_text()
    assert report.startswith("# Accepted")
    for picture in ("loss.png", "metrics.png"):
        assert (tmp_path / "report" / picture).read_bytes().startswith(b"\x89PNG")
        assert f"({picture})" in report
    [cost] = stack.json("cost")
    assert [way["way"] for way in cost["ways"]] == ["retrieval", "tuned", "both"]
    assert cost["training_cost"] > 0


def test_rolling_back_takes_one_call_and_promoting_again_another(stack: Any, accepted: trainer_pb2.Job) -> None:
    stack.corella("adapters", "rollback")
    until(lambda: serving(stack) == "", 5, "the generator follows the roll-back")
    stack.corella("adapters", "promote", accepted.adapter)
    until(lambda: serving(stack) == accepted.adapter, 5, "the generator follows the promotion")


@pytest.mark.long
def test_a_restarted_generator_comes_back_with_the_adapter(stack: Any, accepted: trainer_pb2.Job) -> None:
    """Left out of `make test`: the generator's contract tests show the same on one process."""
    pid = stack.record().process("generator").pid
    os.kill(pid, signal.SIGKILL)
    stack.wait_until_healthy("generator", other_than=pid, seconds=200)
    assert serving(stack) == accepted.adapter


@pytest.fixture(scope="module")
def inconsistent(stack: Any, accepted: trainer_pb2.Job, tmp_path_factory: pytest.TempPathFactory) -> trainer_pb2.Job:
    """A job on answers that belong to other questions, left to itself."""
    rows = examples(36, 12, shuffled=True)
    return ended(stack, start(stack, dataset(stack, tmp_path_factory.mktemp("shuffled"), rows), epochs=1.0, batch_tokens=1024))


def test_shuffled_answers_are_rejected_as_inconsistent_and_what_serves_stays(
    stack: Any, accepted: trainer_pb2.Job, inconsistent: trainer_pb2.Job
) -> None:
    job = inconsistent
    assert job.state == trainer_pb2.JOB_STATE_REJECTED, job.message
    judged = evaluation(stack, job)
    assert not judged.accepted
    assert trainer_pb2.RejectionCause.Name(judged.cause) == "REJECTION_CAUSE_INCONSISTENT_DATA", judged.reasons
    assert serving(stack) == accepted.adapter


def test_a_training_is_one_trace_from_the_command_to_ray_and_the_generator(stack: Any, inconsistent: trainer_pb2.Job) -> None:
    spans = stack.receiver.settled(inconsistent.trace_id, 60)
    assert orphans(spans) == []
    [root] = [span for span in spans if not span.parent_id]
    assert (root.service, root.name) == ("corella-cli", "corella train")
    asked = ["cli: corella train", "cli: corella.v1.TrainerService/CreateJob", "trainer: corella.v1.TrainerService/CreateJob"]
    run = [*asked, "trainer-worker: drive job", "trainer-driver: job run"]
    by_name = {f"{span.service.removeprefix('corella-')}: {span.name}": path(spans, span) for span in spans}
    for step in ("prepare", "train", "judge"):
        assert by_name[f"trainer-driver: {step}"] == [*run, f"trainer-driver: {step}"]
    worker = by_name["trainer-ray-worker: train worker"]
    assert worker[: len(run) + 1] == [*run, "trainer-driver: train"]
    served = [path(spans, span) for span in spans if span.service == "corella-generator" and span.kind == "server"]
    assert any(each[: len(run)] == run for each in served), "the gate asks the generator"
    assert any(
        span.attributes.get("corella.adapter.name") == inconsistent.adapter for span in spans if span.service == "corella-trainer-driver"
    )


def test_a_learning_rate_a_hundred_times_too_high_is_rejected_as_that(stack: Any, accepted: trainer_pb2.Job, tmp_path: Path) -> None:
    name = start(stack, dataset(stack, tmp_path, examples(36, 12)), epochs=1.0, batch_tokens=1024, learning_rate=0.1)
    job = ended(stack, name)
    assert job.state == trainer_pb2.JOB_STATE_REJECTED, job.message
    judged = evaluation(stack, job)
    assert trainer_pb2.RejectionCause.Name(judged.cause) == "REJECTION_CAUSE_LEARNING_RATE_TOO_HIGH", judged.reasons
    assert serving(stack) == accepted.adapter
