"""`corella train` and `corella jobs` against a trainer that says what the test tells it to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corella.cli import dataset_building, training_view
from corella.cli.training_view import heading, measures, sparkline
from corella.v1 import trainer_pb2
from services.chassis.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable

Run = Callable[..., Any]
QUEUED, RUNNING, EVALUATING = trainer_pb2.JOB_STATE_QUEUED, trainer_pb2.JOB_STATE_RUNNING, trainer_pb2.JOB_STATE_EVALUATING
SUCCEEDED, REJECTED = trainer_pb2.JOB_STATE_SUCCEEDED, trainer_pb2.JOB_STATE_REJECTED
FAILED, CANCELLED = trainer_pb2.JOB_STATE_FAILED, trainer_pb2.JOB_STATE_CANCELLED
AWAY = Unavailable("Redis is away.", reason="RECORDS_UNAVAILABLE")
VERSION = "adapters/default/versions/3"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dataset_building.time, "sleep", lambda _seconds: None)
    monkeypatch.chdir(tmp_path)


def job(state: Any, **fields: Any) -> trainer_pb2.Job:
    return trainer_pb2.Job(name="jobs/j1", dataset="datasets/d1", method=trainer_pb2.TRAINING_METHOD_LORA, state=state, **fields)


def event(state: Any, steps: tuple[int, ...] = (), phase: str = "training", **fields: Any) -> trainer_pb2.WatchJobResponse:
    progress = trainer_pb2.JobProgress(
        phase=phase, step=max(steps, default=0), total_steps=40, training_loss=1.5, validation_loss=1.75, tokens_per_second=210
    )
    if phase != "training":
        progress.done_count, progress.total_count = 5, 20
    made = [trainer_pb2.JobStep(step=step, training_loss=3.0 / step) for step in steps]
    return trainer_pb2.WatchJobResponse(job=job(state, progress=progress, **fields), steps=made)


def evaluation(*, accepted: bool) -> trainer_pb2.Evaluation:
    compared = trainer_pb2.MetricComparison
    return trainer_pb2.Evaluation(
        name="evaluations/e1", adapter=VERSION, accepted=accepted, serving="adapters/default/versions/2",
        reasons=["answer_f1 rose from 0.12 to 0.21." if accepted else "answer_f1 fell."],
        cause=trainer_pb2.REJECTION_CAUSE_UNSPECIFIED if accepted else trainer_pb2.REJECTION_CAUSE_TOO_LITTLE_DATA,
        metrics=[
            compared(metric="answer_f1", base=0.12, serving=0.15, candidate=0.21, difference_low=0.01, difference_high=0.1, count=100,
                     role="decides"),
            compared(metric="latency_ms", base=310, serving=320, candidate=330, difference_low=-4, difference_high=24, count=100,
                     lower_is_better=True, role="guards"),
        ],
        corner_case_metrics=[compared(metric="answer_f1", count=7, role="reported")],
    )  # fmt: skip


def prepare(trainer: Any, *events: Any, accepted: bool = True) -> None:
    trainer.answers["CreateJob"] = [trainer_pb2.CreateJobResponse(job=job(QUEUED))]
    trainer.answers["GetJob"] = [trainer_pb2.GetJobResponse(job=job(QUEUED))]
    trainer.answers["WatchJob"] = [list(events)]
    trainer.answers["GetEvaluation"] = [trainer_pb2.GetEvaluationResponse(evaluation=evaluation(accepted=accepted))]
    pictures = [trainer_pb2.ReportPicture(file_name="loss.png", content=b"PNG")]
    trainer.answers["GetJobReport"] = [trainer_pb2.GetJobReportResponse(markdown="# Report\n", pictures=pictures)]


ACCEPTED = event(
    SUCCEEDED, (3, 4), evaluation="evaluations/e1", adapter=VERSION, message="It serves.",
    usage=trainer_pb2.TrainingUsage(training_seconds=130, evaluation_seconds=12, tokens=52_000),
)  # fmt: skip


def test_a_training_is_watched_judged_and_reported(corella: Run, trainer: Any, tmp_path: Path) -> None:
    prepare(trainer, event(QUEUED, queue_position=2, phase=""), event(RUNNING, (1, 2)), event(EVALUATING, phase="evaluating"), ACCEPTED)
    result = corella("train", "d1", "--name", "Mine")
    assert result.code == 0
    for part in ("queued, 2 before it", "training  step 2 of 40  loss 1.500  validation 1.750  210 tokens/s", "evaluating  5 of 20"):
        assert part in result.err
    for part in ("Accepted: default/3", "It serves.", "serving (default/2)", "+0.010 … +0.100", "decides", "latency_ms (less is better)"):
        assert part in result.out
    assert "- answer_f1 rose from 0.12 to 0.21." in result.out
    assert "Corner cases alone:" in result.out
    assert "2 min 10 s of training · 12 s of judging · 52,000 tokens learnt from" in result.out
    assert "Report: reports/j1/report.md with 1 picture" in result.out
    assert (tmp_path / "reports/j1/report.md").read_text() == "# Report\n"
    assert (tmp_path / "reports/j1/loss.png").read_bytes() == b"PNG"
    [request] = trainer.asked["CreateJob"]
    assert (request.job.dataset, request.job.display_name) == ("datasets/d1", "Mine")
    assert request.request_id


def test_what_is_not_said_is_left_to_the_service(corella: Run, trainer: Any) -> None:
    prepare(trainer, ACCEPTED)
    corella("train", "d1")
    [request] = trainer.asked["CreateJob"]
    told = trainer_pb2.Job(dataset="datasets/d1", hyperparameters=trainer_pb2.Hyperparameters(), gate=trainer_pb2.Gate())
    assert request.job == told


def test_every_option_reaches_the_job(corella: Run, trainer: Any) -> None:
    prepare(trainer, ACCEPTED)
    corella(
        "train", "datasets/d1", "--method", "distillation", "--adapter", "support", "--epochs", "2", "--learning-rate", "1e-3",
        "--lora-rank", "8", "--batch-tokens", "4096", "--seed", "5", "--workers", "2", "--schedule", "cosine", "--warmup-share", "0",
        "--weight-decay", "0.1", "--checkpoint-steps", "50", "--gpu", "--gate-metric", "answer_f1", "--margin", "0", "--confidence", "0.9",
        "--max-examples", "30", "--tolerance", "refusal_recall=0.1", "--search-trials", "4", "--search-minutes", "1.5", "--hold", "--merge",
        "--fold", "3", "--hidden-size", "256", "--layers", "6", "--heads", "4", "--key-value-heads", "2", "--intermediate-size", "512",
        "--init", "teacher-layers", "--teacher", "/models/big", "--temperature", "3", "--alpha", "0",
    )  # fmt: skip
    made = trainer.asked["CreateJob"][0].job
    tuned, gate, new = made.hyperparameters, made.gate, made.architecture
    assert (made.method, made.adapter_id) == (trainer_pb2.TRAINING_METHOD_DISTILLATION, "support")
    assert (made.hold, made.merge, made.fold) == (True, True, 3)
    assert (tuned.epochs, tuned.learning_rate, tuned.lora_rank, tuned.batch_tokens, tuned.seed) == (2, 1e-3, 8, 4096, 5)
    assert (tuned.worker_count, tuned.learning_rate_schedule, tuned.weight_decay, tuned.checkpoint_steps) == (2, "cosine", 0.1, 50)
    assert (tuned.use_gpu, tuned.HasField("warmup_share")) == (True, True)
    assert (gate.metric, gate.confidence, gate.max_examples, dict(gate.tolerances)) == ("answer_f1", 0.9, 30, {"refusal_recall": 0.1})
    assert gate.HasField("margin")
    assert (made.search.trials, made.search.duration.ToTimedelta().total_seconds()) == (4, 90)
    assert (new.hidden_size, new.layer_count, new.head_count, new.key_value_head_count, new.intermediate_size) == (256, 6, 4, 2, 512)
    assert new.initialization == trainer_pb2.INITIALIZATION_TEACHER_LAYERS
    assert (made.distillation.teacher, made.distillation.temperature, made.distillation.alpha) == ("/models/big", 3, 0)
    assert made.distillation.HasField("alpha")


@pytest.mark.parametrize(("option", "value"), [("--quantize-bits", 4), ("--prune-share", 0.5)])
def test_a_repair_says_what_is_to_be_repaired(corella: Run, trainer: Any, option: str, value: float) -> None:
    prepare(trainer, ACCEPTED)
    corella("train", "d1", "--method", "repair", option, str(value))
    compression = trainer.asked["CreateJob"][0].job.compression
    assert getattr(compression, str(compression.WhichOneof("kind"))) == value


@pytest.mark.parametrize(
    "arguments",
    [
        ("--quantize-bits", "4", "--prune-share", "0.5"), ("--search-minutes", "5"), ("--method", "magic"), ("--init", "odd"),
        ("--schedule", "odd"), ("--tolerance", "x"), ("--tolerance", "x=y"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_wrong_use(corella: Run, trainer: Any, arguments: tuple[str, ...]) -> None:
    assert corella("train", "d1", *arguments).code == 2
    assert trainer.asked == {}


def test_a_rejected_candidate_ends_with_three_and_its_cause(corella: Run, trainer: Any) -> None:
    prepare(trainer, event(REJECTED, evaluation="evaluations/e1", adapter=VERSION), accepted=False)
    result = corella("train", "d1", "--output", "out")
    assert result.code == 3
    assert "Rejected: default/3" in result.out
    assert "Most likely cause: too little data." in result.out
    assert "Report: out/report.md" in result.out


def test_a_failed_training_says_why_and_needs_no_report(corella: Run, trainer: Any) -> None:
    error = FailedPrecondition("No example is left to train on.", reason="NOTHING_TO_TRAIN_ON").to_status()
    prepare(trainer, event(FAILED, error=error))
    trainer.answers["GetJobReport"] = [FailedPrecondition("There is no report.", reason="REPORT_NOT_READY")]
    result = corella("train", "d1")
    assert result.code == 1
    assert "Failed." in result.out
    assert "No example is left to train on." in result.out
    assert "GetEvaluation" not in trainer.asked
    prepare(trainer, event(CANCELLED))
    assert corella("train", "d1").code == 1


def test_detached_it_says_how_to_go_on(corella: Run, trainer: Any) -> None:
    prepare(trainer)
    result = corella("train", "d1", "--detach")
    assert result.code == 0
    assert "Queued jobs/j1: `corella jobs watch j1` shows it." in result.out
    assert "WatchJob" not in trainer.asked
    assert json.loads(corella("train", "d1", "--detach", "--json").out)["name"] == "jobs/j1"


def test_as_json_the_outcome_is_one_object(corella: Run, trainer: Any) -> None:
    prepare(trainer, event(RUNNING, (1,)), ACCEPTED)
    result = corella("train", "d1", "--json")
    told = json.loads(result.out)
    assert (told["job"]["state"], told["evaluation"]["accepted"]) == ("JOB_STATE_SUCCEEDED", True)
    assert told["report"] == ["reports/j1/report.md", "reports/j1/loss.png"]
    assert result.err == ""


def test_a_trainer_that_restarts_is_waited_for_and_no_step_comes_twice(corella: Run, trainer: Any) -> None:
    prepare(trainer)
    trainer.answers["WatchJob"] = [[event(RUNNING, (1, 2)), AWAY], [AWAY], [event(RUNNING, (3,))], [ACCEPTED]]
    trainer.answers["GetEvaluation"].insert(0, AWAY)
    trainer.answers["GetJobReport"].insert(0, AWAY)
    result = corella("train", "d1")
    assert result.code == 0
    assert [request.after_step for request in trainer.asked["WatchJob"]] == [0, 2, 2, 3]
    assert "trainer away" in result.err


def test_a_trainer_that_stays_away_is_given_up_with_a_one(corella: Run, trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_building, "PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(training_view, "Patience", lambda: dataset_building.Patience(-1.0))
    prepare(trainer, event(RUNNING, (1,)), AWAY)
    result = corella("train", "d1")
    assert result.code == 1, "3 says that a candidate was rejected"
    assert "Redis is away." in result.err
    assert corella("--trainer", "127.0.0.1:9", "train", "d1").code == 1


def test_ctrl_c_says_how_to_go_on_watching_and_how_to_cancel(corella: Run, trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    prepare(trainer, event(RUNNING, (1,)), ACCEPTED)
    monkeypatch.setattr(training_view.JobView, "take", interrupted)
    result = corella("train", "d1")
    assert result.code == 130
    assert "`corella jobs watch j1` shows it, `corella jobs cancel j1` stops it." in result.err
    assert "CancelJob" not in trainer.asked


def test_errors_of_creating_a_job_are_told_in_words(corella: Run, trainer: Any) -> None:
    trainer.answers["CreateJob"] = [ResourceExhausted("20 jobs wait already.")]
    result = corella("train", "d1")
    assert (result.code, "20 jobs wait already." in result.err) == (1, True)
    trainer.answers["CreateJob"] = [InvalidArgument.of([("job.hyperparameters.epochs", "must be above 0")])]
    assert "job.hyperparameters.epochs: must be above 0" in corella("train", "d1", "--epochs", "0").err


def test_a_picture_cannot_lead_out_of_its_folder(corella: Run, trainer: Any, tmp_path: Path) -> None:
    for name in ("../evil.png", "/tmp/evil.png", ".hidden.png", "evil.sh", "a/b.png"):
        picture = trainer_pb2.ReportPicture(file_name=name, content=b"x")
        trainer.answers["GetJobReport"] = [trainer_pb2.GetJobReportResponse(markdown="x", pictures=[picture])]
        assert corella("jobs", "report", "j1", "--output", "out").code == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["report.md"]


def test_jobs_are_listed_and_shown(corella: Run, trainer: Any) -> None:
    running = event(RUNNING, (2,)).job
    ended = job(SUCCEEDED, evaluation="evaluations/e1", adapter=VERSION, schedule="schedules/weekly")
    trainer.answers["ListJobs"] = [trainer_pb2.ListJobsResponse(jobs=[running, ended])]
    rows = corella("jobs", "list").out.splitlines()
    assert "RUNNING" in rows[1]
    assert "step 2 of 40" in rows[1]
    assert "default/3" in rows[2]
    assert len(corella("jobs", "list", "--json").out.splitlines()) == 2
    prepare(trainer)
    trainer.answers["GetJob"] = [trainer_pb2.GetJobResponse(job=running), trainer_pb2.GetJobResponse(job=ended)]
    assert "training  step 2 of 40  loss 1.500" in corella("jobs", "show", "j1").out
    shown = corella("jobs", "show", "jobs/j1")
    assert shown.code == 0
    assert "by schedule weekly" in shown.out
    assert "Accepted: default/3" in shown.out
    assert json.loads(corella("jobs", "show", "j1", "--json").out)["evaluation"]["name"] == "evaluations/e1"


def test_an_unknown_job_says_what_to_do(corella: Run, trainer: Any) -> None:
    trainer.answers["GetJob"] = [NotFound("There is no job `j9`.", reason="JOB_NOT_FOUND")]
    for command in ("show", "watch", "log"):
        result = corella("jobs", command, "j9")
        assert (result.code, "`corella jobs list`" in result.err) == (1, True), command


def test_watching_as_json_brings_every_change_and_then_the_outcome(corella: Run, trainer: Any) -> None:
    prepare(trainer, event(RUNNING, (1,)), ACCEPTED)
    result = corella("jobs", "watch", "j1", "--json")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [line["job"]["state"] for line in lines[:2]] == ["JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"]
    assert lines[-1]["evaluation"]["accepted"]


def test_cancelling_says_how_the_job_stands(corella: Run, trainer: Any) -> None:
    trainer.answers["CancelJob"] = [trainer_pb2.CancelJobResponse(job=job(RUNNING)), trainer_pb2.CancelJobResponse(job=job(CANCELLED))]
    assert "jobs/j1 was asked to stop; it is RUNNING." in corella("jobs", "cancel", "j1").out
    assert "jobs/j1 has ended: CANCELLED." in corella("jobs", "cancel", "j1").out


def test_a_log_is_followed_to_the_end_of_the_job(corella: Run, trainer: Any) -> None:
    running, ended = trainer_pb2.GetJobResponse(job=job(RUNNING)), trainer_pb2.GetJobResponse(job=job(SUCCEEDED))
    trainer.answers["GetJob"] = [running, running, AWAY, running, ended]
    pages = [(["one"], 1), ([], 1), (["two\x1b[31m"], 2), ([], 2)]
    trainer.answers["GetJobLog"] = [trainer_pb2.GetJobLogResponse(lines=lines, next_skip=skip) for lines, skip in pages]
    result = corella("jobs", "log", "j1", "--follow")
    assert result.out.splitlines() == ["one", "two[31m"]
    assert [request.skip for request in trainer.asked["GetJobLog"]] == [0, 1, 1, 2]


def test_a_log_as_it_stands_is_read_over_all_pages(corella: Run, trainer: Any) -> None:
    trainer.answers["GetJob"] = [trainer_pb2.GetJobResponse(job=job(RUNNING))]
    pages = [(["one"], 1), (["two"], 2), ([], 2)]
    trainer.answers["GetJobLog"] = [trainer_pb2.GetJobLogResponse(lines=lines, next_skip=skip) for lines, skip in pages]
    result = corella("jobs", "log", "j1", "--json")
    assert [json.loads(line)["line"] for line in result.out.splitlines()] == ["one", "two"]


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 10, ""), ([1.0], 10, "▁"), ([1, 1, 1], 10, "▁▁▁"), ([8, 7, 6, 5, 4, 3, 2, 1], 8, "█▇▆▅▄▃▂▁"), ([0, 0, 7, 7], 2, "▁█"),
        ([0, float("nan"), float("inf"), 7], 9, "▁█"), ([1, 2], 0, ""),
    ],
)  # fmt: skip
def test_a_sparkline_shows_the_course_of_the_losses(values: list[float], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn


def test_headings_say_what_happens_in_a_few_words() -> None:
    waiting = trainer_pb2.JOB_STATE_WAITING_FOR_RESOURCES
    assert heading(job(QUEUED)) == "queued"
    assert heading(job(waiting)) == "waiting for resources"
    assert heading(event(RUNNING, (1,), attempt_count=2).job) == "training (attempt 2)"
    assert heading(job(trainer_pb2.JOB_STATE_STALLED, progress=trainer_pb2.JobProgress(phase="training"))) == "stalled"
    progress = trainer_pb2.JobProgress(phase="training", step=1, total_steps=2)
    progress.time_left.FromSeconds(200)
    assert measures(job(RUNNING, progress=progress))[-1] == "about 3 min 20 s left"


def test_the_status_tells_of_trainings_under_way(corella: Run, trainer: Any) -> None:
    jobs = [event(RUNNING, (2,)).job, job(SUCCEEDED)]
    trainer.answers["ListJobs"] = [trainer_pb2.ListJobsResponse(jobs=jobs)]
    [training] = json.loads(corella("status", "--json").out)["trainings"]
    assert (training["name"], training["doing"], training["measures"][0]) == ("jobs/j1", "training", "step 2 of 40")
