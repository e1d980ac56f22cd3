"""`corella status` against services that are anywhere: health, queues, failures, sources, what serves; and what they would not tell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, status_pb2

from corella.v1 import generator_pb2, operation_pb2, retriever_pb2, source_pb2, trainer_pb2
from services.chassis.errors import PermissionDenied

Run = Callable[..., Any]


def ago(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(time.time() - seconds))


@pytest.fixture
def busy(retriever: Any, sources: Any, generator: Any, trainer: Any) -> None:
    """A deployment with work under way and some of it broken."""
    failed = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="The wiki \x1b[2Jis away.")
    retriever.ListCorpora = lambda request, context: retriever_pb2.ListCorporaResponse(
        corpora=[retriever_pb2.Corpus(name="corpora/handbook", document_count=3, chunk_count=40, embedded_chunk_count=30)]
    )
    retriever.ListDocuments = lambda request, context: retriever_pb2.ListDocumentsResponse(
        total_size={retriever_pb2.DOCUMENT_STATE_ACTIVE: 2, retriever_pb2.DOCUMENT_STATE_FAILED: 1}.get(request.state, 0)
    )
    kinds, states = operation_pb2.OperationKind, operation_pb2.OperationState
    retriever.ListOperations = lambda request, context: retriever_pb2.ListOperationsResponse(
        operations=[
            operation_pb2.Operation(
                name="operations/stuck", kind=kinds.OPERATION_KIND_INGEST_DOCUMENTS, target="corpora/handbook",
                state=states.OPERATION_STATE_STALLED, total_count=10, done_count=4, create_time=ago(600), update_time=ago(300),
            ),
            operation_pb2.Operation(
                name="operations/half", kind=kinds.OPERATION_KIND_SYNC_SOURCE, target="corpora/handbook",
                state=states.OPERATION_STATE_SUCCEEDED, total_count=9, done_count=9, failed_count=2, create_time=ago(900),
                end_time=ago(800),
            ),
            operation_pb2.Operation(
                name="operations/old", state=states.OPERATION_STATE_FAILED, create_time=ago(9 * 86_400), end_time=ago(8 * 86_400)
            ),
            operation_pb2.Operation(name="operations/fine", state=states.OPERATION_STATE_SUCCEEDED, total_count=1, end_time=ago(5)),
        ]
    )  # fmt: skip
    sources.ListSources = lambda request, context: source_pb2.ListSourcesResponse(
        sources=[
            source_pb2.Source(name="corpora/handbook/sources/wiki", state=source_pb2.SOURCE_STATE_FAILED, error=failed),
            source_pb2.Source(name="corpora/handbook/sources/pages", state=source_pb2.SOURCE_STATE_IDLE, document_count=3),
        ]
    )
    generator.model = generator_pb2.GenerationModel(display_name="SmolLM2", adapter="adapters/devices/versions/2")
    trainer.answers["ListJobs"] = [
        trainer_pb2.ListJobsResponse(
            jobs=[
                trainer_pb2.Job(name="jobs/broken", state=trainer_pb2.JOB_STATE_FAILED, end_time=ago(60), error=failed),
                trainer_pb2.Job(name="jobs/rejected", state=trainer_pb2.JOB_STATE_REJECTED, end_time=ago(60)),
                trainer_pb2.Job(name="jobs/waiting", dataset="datasets/d", state=trainer_pb2.JOB_STATE_QUEUED),
            ]
        )
    ]  # fmt: skip


def test_what_is_healthy_queued_and_failed_of_any_deployment(busy: None, corella: Run) -> None:
    result = corella("status", "--json")
    told = json.loads(result.out)
    assert (result.code, told["healthy"], told["local"], told["traces"]) == (0, True, None, None)
    assert [service["health"] for service in told["services"]] == ["SERVING"] * 4
    assert all(service["answered_seconds"] >= 0 for service in told["services"])
    assert told["corpora"][0]["states"] == {"ACTIVE": 2, "FAILED": 1}
    assert [(each["name"], each["state"], each["age_seconds"] >= 599) for each in told["operations"]] == [
        ("operations/stuck", "STALLED", True)
    ]
    assert [(each["name"], each["failed"]) for each in told["failed_operations"]] == [("operations/half", 2)]
    assert [each["name"] for each in told["trainings"]] == ["jobs/waiting"]
    assert [each["name"] for each in told["failed_trainings"]] == ["jobs/broken"]
    assert [(each["name"], each["state"]) for each in told["sources"]] == [
        ("corpora/handbook/sources/wiki", "FAILED"), ("corpora/handbook/sources/pages", "IDLE"),
    ]  # fmt: skip
    assert told["serving"] == {"model": "SmolLM2", "adapter": "adapters/devices/versions/2", "engine": ""}


def test_people_see_the_same_and_nothing_of_it_is_obeyed_by_the_terminal(busy: None, corella: Run) -> None:
    out = corella("status").out
    for words in (
        "No local run here.", "SmolLM2 answers with adapters/devices/versions/2.", "2 ACTIVE, 1 FAILED", "STALLED", "4 of 10",
        "operations/half", "10 min 0", "sync source handbook", "2 of 9", "jobs/broken", "handbook/wiki", "The wiki [2Jis away.",
    ):  # fmt: skip
        assert words in out, words
    assert "pages" not in out, "a source without trouble is no news"
    assert "\x1b" not in out


def test_what_somebody_may_not_know_is_said_and_the_rest_is_shown(busy: None, generator: Any, corella: Run) -> None:
    generator.error = PermissionDenied("GetGenerationModel asks for the role `reader`.", reason="ROLE_MISSING")
    result = corella("status")
    assert result.code == 0
    assert "Not known (serving): GetGenerationModel asks for the role `reader`." in result.out
    assert "jobs/broken" in result.out


def test_one_that_is_away_makes_it_unhealthy(busy: None, corella: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORELLA_TRAINER", "127.0.0.1:9")
    result = corella("status", "--json")
    told = json.loads(result.out)
    assert (result.code, told["healthy"]) == (1, False)
    assert told["services"][3]["health"] == "unreachable"
    assert "error" in told["trainings"]
    assert "Something is not healthy." in corella("status").out
