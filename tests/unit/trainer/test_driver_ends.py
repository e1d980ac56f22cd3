"""What a worker does with a driver whose lease is no longer held: who has done its work may close, who has lost it is ended."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from services.trainer import worker
from services.trainer.domain import DatasetState, JobState
from services.trainer.redis_records import DATASETS, JOBS
from services.trainer.settings import TrainerSettings
from services.trainer.worker import Drivers

KILLED = -9


class Closing:
    """A process that still runs at the first look, and ends by itself with 0 unless it is killed before."""

    pid = 4711

    def __init__(self) -> None:
        self.looks = 0
        self.killed = False

    def wait(self, seconds: float | None = None) -> int:
        self.looks += 1
        if self.looks == 1:
            raise subprocess.TimeoutExpired("driver", seconds or 0.0)
        return KILLED if self.killed else 0


class Records:
    """Knows nothing of a lease any more, but the state of the work."""

    def __init__(self, state: Any) -> None:
        self._work = SimpleNamespace(state=state, alive_time=None)

    async def renew(self, *_: Any) -> bool:
        return False

    async def job(self, _: str) -> Any:
        return self._work

    async def dataset(self, _: str) -> Any:
        return self._work


@pytest.mark.parametrize(
    ("lane", "state", "status"),
    [
        (JOBS, JobState.SUCCEEDED, 0),
        (JOBS, JobState.REJECTED, 0),
        (JOBS, JobState.RUNNING, KILLED),
        (DATASETS, DatasetState.READY, 0),
        (DATASETS, DatasetState.BUILDING, KILLED),
    ],
)
def test_a_driver_that_is_done_closes_in_peace(monkeypatch: pytest.MonkeyPatch, lane: str, state: Any, status: int) -> None:
    process, drivers, records = Closing(), Drivers(TrainerSettings()), Records(state)

    def call(work: Callable[[Any], Awaitable[Any]]) -> Any:
        async def now() -> Any:
            return await work(records)

        return asyncio.run(now())

    monkeypatch.setattr(drivers, "_call", call)
    monkeypatch.setattr(worker, "_end_group", lambda pid: setattr(process, "killed", pid == process.pid))
    assert drivers._wait(process, lane, "7", "token") == status  # type: ignore[arg-type]
    assert process.killed is (status == KILLED)
