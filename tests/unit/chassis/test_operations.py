"""The state of an operation follows from signs of life, not from what a dead worker wrote last."""

from __future__ import annotations

import pytest

from corella.v1 import operation_pb2
from services.chassis.errors import FailedPrecondition
from services.chassis.operations import ItemFailure, Operation, OperationState, expected_end, state_of
from services.chassis.operations_messages import operation_message


@pytest.mark.parametrize(
    ("ended_as", "started", "next_attempt", "updated", "expected"),
    [
        ("", False, None, 0.0, OperationState.QUEUED),
        ("", True, None, 95.0, OperationState.RUNNING),
        ("", True, None, 60.0, OperationState.STALLED),
        ("", True, 101.0, 60.0, OperationState.WAITING_TO_RETRY),
        ("", True, 99.0, 60.0, OperationState.RUNNING),
        ("", True, 50.0, 60.0, OperationState.STALLED),
        ("SUCCEEDED", True, None, 0.0, OperationState.SUCCEEDED),
        ("CANCELLED", False, 101.0, 0.0, OperationState.CANCELLED),
    ],
)
def test_the_state_is_true(ended_as: str, started: bool, next_attempt: float | None, updated: float, expected: OperationState) -> None:
    state = state_of(ended_as=ended_as, started=started, next_attempt_time=next_attempt, update_time=updated, now=100.0, stall_seconds=30.0)
    assert state is expected


def test_the_end_is_expected_from_the_items_that_took_time() -> None:
    assert expected_end(start_time=0.0, now=10.0, total=100, done=60, skipped=50) == pytest.approx(50.0)


@pytest.mark.parametrize(("start", "done", "skipped"), [(None, 5, 0), (0.0, 5, 5), (0.0, 100, 0)])
def test_nothing_is_said_of_the_end_while_nothing_is_known(start: float | None, done: int, skipped: int) -> None:
    assert expected_end(start_time=start, now=10.0, total=100, done=done, skipped=skipped) is None


def test_an_operation_becomes_the_message_with_every_count() -> None:
    error = FailedPrecondition("no", reason="NO").to_status().SerializeToString()
    operation = Operation(
        id="1", kind="INGEST_DOCUMENTS", target="corpora/a", state=OperationState.RUNNING, total=10, succeeded=1, unchanged=2, failed=3,
        cancelled=1, create_time=1.5, update_time=2.5, start_time=2.0, failures=(ItemFailure("n", "u", error),), chunk_count=7,
    )  # fmt: skip
    message = operation_message(operation)
    assert message.name == "operations/1"
    assert message.kind == operation_pb2.OPERATION_KIND_INGEST_DOCUMENTS
    assert (message.done_count, message.total_count, message.chunk_count) == (7, 10, 7)
    assert message.create_time.ToMilliseconds() == 1500
    assert not message.HasField("end_time")
    assert message.failures[0].error.message == "no"
