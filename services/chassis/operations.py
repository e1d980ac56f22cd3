"""Long work that goes on after the call that started it: what is known about it, and the port to where that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from services.chassis.errors import NotFound


class OperationState(Enum):
    """Where an operation stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    WAITING_TO_RETRY = "WAITING_TO_RETRY"
    STALLED = "STALLED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


TERMINAL = frozenset({OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED})


@dataclass(frozen=True)
class ItemFailure:
    """One item that failed. `error` is a serialised `google.rpc.Status`."""

    name: str
    uri: str
    error: bytes


@dataclass(frozen=True)
class Operation:
    """A piece of long work as it stands. Times are seconds since the epoch; None is a time that is not known or not yet."""

    id: str
    kind: str
    target: str
    state: OperationState
    total: int
    succeeded: int
    unchanged: int
    failed: int
    cancelled: int
    create_time: float
    update_time: float
    start_time: float | None = None
    end_time: float | None = None
    expected_end_time: float | None = None
    next_attempt_time: float | None = None
    failures: tuple[ItemFailure, ...] = ()
    error: bytes = b""
    message: str = ""
    chunk_count: int = 0
    embedded_chunk_count: int = 0

    @property
    def done(self) -> int:
        """How many items are finished, whatever their end."""
        return self.succeeded + self.unchanged + self.failed + self.cancelled

    @property
    def ended(self) -> bool:
        """Whether it has reached a terminal state."""
        return self.state in TERMINAL


class OperationNotFound(NotFound):
    """There is no such operation, or it ended more than seven days ago."""

    reason = "OPERATION_NOT_FOUND"

    def __init__(self, operation_id: str) -> None:
        super().__init__(f"There is no operation `operations/{operation_id}`.", operation=f"operations/{operation_id}")


class Operations(Protocol):
    """Where operations are kept."""

    async def get(self, operation_id: str) -> Operation:
        """One operation. Raises `OperationNotFound`."""

    async def list_operations(self, target: str, size: int, after: str) -> tuple[Sequence[Operation], str]:
        """Operations, newest first, of one target or of all, and where the next page begins."""

    async def wait(self, operation_id: str, seconds: float, until_done_exceeds: int | None) -> Operation:
        """The operation once it has ended, more items are done than given, or the time is over."""


def state_of(
    *,
    ended_as: str,
    started: bool,
    next_attempt_time: float | None,
    update_time: float,
    now: float,
    stall_seconds: float,
) -> OperationState:
    """The true state, from the last sign of life rather than from what a dead worker wrote last."""
    if ended_as:
        return OperationState(ended_as)
    if not started:
        return OperationState.QUEUED
    if next_attempt_time is not None and next_attempt_time > now:
        return OperationState.WAITING_TO_RETRY
    if now - max(update_time, next_attempt_time or 0.0) > stall_seconds:
        return OperationState.STALLED
    return OperationState.RUNNING


def expected_end(*, start_time: float | None, now: float, total: int, done: int, skipped: int) -> float | None:
    """When it should end at the speed so far. `skipped` items took no time. None while nothing can be said."""
    worked = done - skipped
    if start_time is None or worked <= 0 or done >= total:
        return None
    return now + (now - start_time) * (total - done) / worked
