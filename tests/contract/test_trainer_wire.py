"""The trainer over a real channel, on a real Valkey: what callers may ask for, and what they are told when they may not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from redis import Redis
from trainer_process import running_trainer, trainer_environment

from corella.errors import RpcFailure
from corella.v1 import trainer_pb2 as pb
from corella.v1.trainer_pb2_grpc import TrainerServiceStub

SUBJECTS = ("capital", "river", "highest mountain", "oldest town", "national bird", "largest lake")


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory, trainer_valkey: str) -> Iterator[grpc.Channel]:
    folder = tmp_path_factory.mktemp("trainer")
    with Redis.from_url(trainer_valkey) as redis:
        redis.flushdb()  # what other tests left there
    with running_trainer(folder, trainer_environment(folder, trainer_valkey)) as channel:
        yield channel


@pytest.fixture
def trainer(channel: grpc.Channel) -> TrainerServiceStub:
    return TrainerServiceStub(channel)


def lines(count: int = 40) -> bytes:
    """Examples that are no near-duplicates of each other."""
    rows = [
        {
            "prompt": f"What is the {SUBJECTS[n % 6]} of country number {n * 7919} in the atlas of {n * 104729}?",
            "response": f"Answer {n * 31}.",
        }
        for n in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def create(stub: TrainerServiceStub, content: bytes, piece: int = 100, **start: object) -> pb.Dataset:
    def stream() -> Iterator[pb.CreateDatasetRequest]:
        yield pb.CreateDatasetRequest(start=pb.DatasetStart(**start))  # type: ignore[arg-type]
        for begin in range(0, len(content), piece):
            yield pb.CreateDatasetRequest(jsonl=content[begin : begin + piece])

    return stub.CreateDataset(stream(), timeout=30).dataset


def failure(call) -> RpcFailure:  # type: ignore[no-untyped-def]
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return RpcFailure.from_rpc_error(caught.value)


def test_it_is_healthy_and_describes_itself(channel: grpc.Channel) -> None:
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="corella.v1.TrainerService"), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    listed = next(iter(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked, timeout=10)))
    assert "corella.v1.TrainerService" in {each.name for each in listed.list_services_response.service}


def test_examples_become_a_dataset_that_can_be_read_back(trainer: TrainerServiceStub) -> None:
    dataset = create(trainer, lines(), display_name="atlas", request_id="atlas-1")
    assert dataset.state == pb.DATASET_STATE_READY
    assert dataset.training_count + dataset.validation_count + dataset.held_out_count == 40
    assert dataset.training_count > dataset.validation_count > 0
    assert trainer.GetDataset(pb.GetDatasetRequest(name=dataset.name), timeout=10).dataset == dataset
    assert create(trainer, lines(), display_name="atlas", request_id="atlas-1").name == dataset.name
    assert failure(lambda: create(trainer, lines(39), request_id="atlas-1")).reason == "REQUEST_ID_REUSED"
    first = trainer.ListExamples(pb.ListExamplesRequest(parent=dataset.name, page_size=30), timeout=10)
    rest = trainer.ListExamples(pb.ListExamplesRequest(parent=dataset.name, page_size=30, page_token=first.next_page_token), timeout=10)
    assert not rest.next_page_token
    kept = [json.loads(line) for line in [*first.examples, *rest.examples]]
    assert sorted(example["messages"][-1]["content"] for example in kept) == sorted(
        json.loads(line)["response"] for line in lines().splitlines()
    )
    assert {example["split"] for example in kept} == {"training", "validation", "held_out"}


def test_bad_lines_are_named_and_nothing_is_stored(trainer: TrainerServiceStub) -> None:
    before = len(trainer.ListDatasets(pb.ListDatasetsRequest(), timeout=10).datasets)
    content = lines(3) + b'{"prompt": "no response"}\nnot json\n' + lines(1)
    said = failure(lambda: create(trainer, content))
    assert (said.code, said.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "EXAMPLES_INVALID")
    assert [field for field, _ in said.violations] == ["line 4", "line 5"]
    assert len(trainer.ListDatasets(pb.ListDatasetsRequest(), timeout=10).datasets) == before


def test_a_stream_must_begin_with_its_start(trainer: TrainerServiceStub) -> None:
    said = failure(lambda: trainer.CreateDataset(iter([pb.CreateDatasetRequest(jsonl=lines(1))]), timeout=10))
    assert said.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure(lambda: trainer.CreateDataset(iter([]), timeout=10)).code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_job_waits_in_the_queue_and_can_be_cancelled(trainer: TrainerServiceStub) -> None:
    """No worker runs here, so it stays where it is."""
    dataset = create(trainer, lines())
    asked = pb.CreateJobRequest(job=pb.Job(dataset=dataset.name, hyperparameters=pb.Hyperparameters(lora_rank=8)), request_id="job-1")
    job = trainer.CreateJob(asked, timeout=10).job
    assert (job.state, job.method) == (pb.JOB_STATE_QUEUED, pb.TRAINING_METHOD_LORA)
    assert trainer.CreateJob(asked, timeout=10).job.name == job.name
    assert failure(lambda: trainer.DeleteDataset(pb.DeleteDatasetRequest(name=dataset.name), timeout=10)).reason == "DATASET_IN_USE"
    assert failure(lambda: trainer.GetJobReport(pb.GetJobReportRequest(name=job.name), timeout=10)).reason == "REPORT_NOT_READY"
    assert trainer.GetJobLog(pb.GetJobLogRequest(name=job.name), timeout=10).lines == []
    watching = trainer.WatchJob(pb.WatchJobRequest(name=job.name), timeout=30)
    assert next(watching).job.state == pb.JOB_STATE_QUEUED
    assert trainer.CancelJob(pb.CancelJobRequest(name=job.name), timeout=10).job.state == pb.JOB_STATE_CANCELLED
    assert [each.job.state for each in watching][-1] == pb.JOB_STATE_CANCELLED
    trainer.DeleteDataset(pb.DeleteDatasetRequest(name=dataset.name), timeout=10)
    assert failure(lambda: trainer.GetDataset(pb.GetDatasetRequest(name=dataset.name), timeout=10)).reason == "DATASET_NOT_FOUND"


def test_every_violation_of_a_job_is_told_at_once(trainer: TrainerServiceStub) -> None:
    job = pb.Job(
        dataset="datasets/nonsense",
        adapter_id="Not A Slug",
        method=pb.TRAINING_METHOD_REPAIR,
        hyperparameters=pb.Hyperparameters(learning_rate=float("nan"), lora_rank=7, learning_rate_schedule="zigzag"),
        gate=pb.Gate(confidence=2),
    )
    said = failure(lambda: trainer.CreateJob(pb.CreateJobRequest(job=job), timeout=10))
    assert {field for field, _ in said.violations} == {
        "job.dataset", "job.adapter_id", "job.compression", "job.hyperparameters.learning_rate", "job.hyperparameters.lora_rank",
        "job.hyperparameters.learning_rate_schedule", "job.gate.confidence",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("GetDataset", pb.GetDatasetRequest(name="datasets/" + "a" * 16), "DATASET_NOT_FOUND"),
        ("GetJob", pb.GetJobRequest(name="jobs/" + "a" * 16), "JOB_NOT_FOUND"),
        ("CancelJob", pb.CancelJobRequest(name="jobs/" + "a" * 16), "JOB_NOT_FOUND"),
        ("GetEvaluation", pb.GetEvaluationRequest(name="evaluations/" + "a" * 16), "EVALUATION_NOT_FOUND"),
        ("PromoteAdapter", pb.PromoteAdapterRequest(name="adapters/x/versions/1"), "ADAPTER_NOT_FOUND"),
        ("DeleteSchedule", pb.DeleteScheduleRequest(name="schedules/none"), "SCHEDULE_NOT_FOUND"),
        ("RollBackAdapter", pb.RollBackAdapterRequest(request_id="r"), "NOTHING_TO_ROLL_BACK"),
        ("GetCost", pb.GetCostRequest(), "NOTHING_MEASURED"),
        ("GetJob", pb.GetJobRequest(name="jobs/../../etc"), "REQUEST_INVALID"),
        ("PromoteAdapter", pb.PromoteAdapterRequest(name="adapters/../versions/.."), "REQUEST_INVALID"),
        ("RollBackAdapter", pb.RollBackAdapterRequest(), "REQUEST_INVALID"),
        ("ListJobs", pb.ListJobsRequest(page_token="nonsense"), "REQUEST_INVALID"),
        ("ListDatasets", pb.ListDatasetsRequest(page_size=-1), "REQUEST_INVALID"),
        ("BuildDataset", pb.BuildDatasetRequest(), "REQUEST_INVALID"),
    ],
)
def test_what_is_not_there_or_not_valid_is_said(trainer: TrainerServiceStub, method: str, request_: object, reason: str) -> None:
    assert failure(lambda: getattr(trainer, method)(request_, timeout=10)).reason == reason


def test_documents_are_sent_to_no_teacher_a_caller_chooses(trainer: TrainerServiceStub) -> None:
    source = pb.CorpusSource(corpus="corpora/default", teacher=pb.Teacher(base_url="http://evil.example/v1", model="m"))
    said = failure(lambda: trainer.BuildDataset(pb.BuildDatasetRequest(sources=[pb.DatasetSource(corpus=source)]), timeout=10))
    assert [field for field, _ in said.violations] == ["sources[0].corpus.teacher.base_url"]


def test_a_schedule_says_when_it_is_due(trainer: TrainerServiceStub) -> None:
    schedule = pb.Schedule(
        name="schedules/weekly",
        trigger=pb.Trigger(min_new_examples=50, cron="0 3 * * 0"),
        sources=[pb.DatasetSource(feedback=pb.FeedbackSource())],
        job=pb.Job(adapter_id="support"),
    )
    made = trainer.CreateSchedule(pb.CreateScheduleRequest(schedule=schedule), timeout=10).schedule
    assert made.next_run_time.ToDatetime().weekday() == 6
    assert made.next_run_time.ToDatetime().hour == 3
    assert failure(lambda: trainer.CreateSchedule(pb.CreateScheduleRequest(schedule=schedule), timeout=10)).reason == "SCHEDULE_EXISTS"
    assert [each.name for each in trainer.ListSchedules(pb.ListSchedulesRequest(), timeout=10).schedules] == ["schedules/weekly"]
    schedule.name, schedule.trigger.cron = "schedules/other", "99 * * * *"
    said = failure(lambda: trainer.CreateSchedule(pb.CreateScheduleRequest(schedule=schedule), timeout=10))
    assert [field for field, _ in said.violations] == ["schedule.trigger.cron"]
    trainer.DeleteSchedule(pb.DeleteScheduleRequest(name="schedules/weekly"), timeout=10)


def test_nothing_serves_at_first(trainer: TrainerServiceStub) -> None:
    assert trainer.GetServing(pb.GetServingRequest(), timeout=10).serving.adapter == ""
    assert list(trainer.ListAdapters(pb.ListAdaptersRequest(), timeout=10).adapters) == []
