"""Operations as messages of `corella.v1`."""

from __future__ import annotations

from google.protobuf import timestamp_pb2
from google.rpc import status_pb2

from corella.v1 import operation_pb2
from services.chassis.operations import Operation


def operation_message(operation: Operation) -> operation_pb2.Operation:
    """The operation for the wire."""
    message = operation_pb2.Operation(
        name=f"operations/{operation.id}",
        kind=f"OPERATION_KIND_{operation.kind}",
        target=operation.target,
        state=f"OPERATION_STATE_{operation.state.value}",
        total_count=operation.total,
        done_count=operation.done,
        succeeded_count=operation.succeeded,
        unchanged_count=operation.unchanged,
        failed_count=operation.failed,
        cancelled_count=operation.cancelled,
        message=operation.message,
        chunk_count=operation.chunk_count,
        embedded_chunk_count=operation.embedded_chunk_count,
    )
    for failure in operation.failures:
        error = status_pb2.Status.FromString(failure.error)
        message.failures.add(name=failure.name, uri=failure.uri, error=error)
    if operation.error:
        message.error.ParseFromString(operation.error)
    for field in ("create_time", "start_time", "update_time", "end_time", "expected_end_time", "next_attempt_time"):
        seconds = getattr(operation, field)
        if seconds is not None:
            getattr(message, field).CopyFrom(timestamp(seconds))
    return message


def timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    """Seconds since the epoch as a protobuf timestamp, to the millisecond."""
    made = timestamp_pb2.Timestamp()
    made.FromMilliseconds(round(seconds * 1000))
    return made
