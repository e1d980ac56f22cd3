"""A driver goes on in the trace of whoever asked for its work, whichever message woke the worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

sys.path.insert(0, str(Path(__file__).parents[2]))

from span_recording import recorded_spans

from services.chassis.steps import current_traceparent, step
from services.trainer import worker
from services.trainer.domain import RecordsUnavailable
from services.trainer.exit_status import INTERRUPTED
from services.trainer.redis_records import JOBS
from services.trainer.settings import TrainerSettings
from services.trainer.worker import Drivers


class Ended:
    """A driver process that ended at once."""

    started: list[dict[str, Any]]
    status = 0
    pid = 0

    def __init__(self, command: list[str], env: dict[str, str], **_: Any) -> None:
        self.started.append(env)

    def wait(self, _seconds: float) -> int:
        # What goes on meanwhile is no part of the trace.
        assert current_traceparent() == ""
        return self.status


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    Ended.started = []
    monkeypatch.setattr(worker.subprocess, "Popen", Ended)
    monkeypatch.setattr(worker, "_end_group", lambda _: None)
    return Ended.started


@pytest.mark.parametrize(("status", "marked"), [(0, StatusCode.UNSET), (INTERRUPTED, StatusCode.UNSET), (-9, StatusCode.ERROR)])
def test_the_driver_is_given_the_works_own_trace(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, status: int, marked: StatusCode
) -> None:
    monkeypatch.setattr(Ended, "status", status)
    with recorded_spans() as spans:
        with step("CreateJob"):
            asked = current_traceparent()
        drivers = Drivers(TrainerSettings())
        monkeypatch.setattr(drivers, "_call", lambda _: asked)
        with step("process train"):
            assert drivers._drive(JOBS, "7", "token") == status
    drive = spans.one("drive job")
    assert (drive.kind, spans.parent(drive), drive.status.status_code) == (SpanKind.CONSUMER, "CreateJob", marked)
    assert (drive.attributes or {})["corella.job.name"] == "jobs/7"
    ids = format_trace_id(drive.context.trace_id), format_span_id(drive.context.span_id)
    assert started[0]["TRACEPARENT"].split("-")[1:3] == [*ids]
    assert started[0]["CORELLA_TRAINER_LEASE_TOKEN"] == "token"


def test_a_trace_that_cannot_be_looked_up_does_not_keep_the_work(started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = Drivers(TrainerSettings())

    def away(_: Any) -> str:
        raise RecordsUnavailable("away")

    monkeypatch.setattr(drivers, "_call", away)
    with recorded_spans() as spans:
        assert drivers._drive(JOBS, "7", "token") == 0
    assert len(started) == 1
    assert spans.one("drive job").parent is None
