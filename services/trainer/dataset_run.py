"""Builds one dataset that was queued: reads its sources, arranges what comes of them, and records how far it is."""

from __future__ import annotations

import asyncio
import time

from opentelemetry import trace
from opentelemetry.trace import StatusCode

from services.chassis.errors import CorellaError, Unavailable
from services.chassis.identity import acting_for
from services.chassis.steps import step
from services.chassis.telemetry import attached, get_logger
from services.trainer.dataset_building import DatasetBuilding
from services.trainer.dataset_keeping import described, load, store
from services.trainer.domain import Dataset, DatasetNotFound, DatasetState, Example, Failure
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.grpc_generator import GrpcGenerator
from services.trainer.owning import of_caller
from services.trainer.ports import Retriever
from services.trainer.redis_records import DATASETS, RedisRecords
from services.trainer.settings import TrainerSettings
from services.trainer.teachers import teachers

log = get_logger(__name__)
_RETRY_SECONDS = 10.0
_WRITE_SECONDS = 0.5


class DatasetRun:
    """One dataset being built."""

    def __init__(
        self,
        settings: TrainerSettings,
        records: RedisRecords,
        shelf: FsspecShelf,
        generator: GrpcGenerator,
        retriever: Retriever,
        *,
        dataset_id: str,
        token: str,
    ) -> None:
        self._settings = settings
        self._records = records
        self._shelf = shelf
        self._generator = generator
        self._retriever = retriever
        self._id = dataset_id
        self._token = token
        self._task: asyncio.Task[bool] | None = None
        self._written_at = 0.0
        self._writes: set[asyncio.Task[None]] = set()

    def interrupt(self) -> None:
        """Leaves the work to another driver."""
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> bool:
        """Builds it; False when it was told to stop before."""
        self._task = asyncio.create_task(self._build())
        try:
            return await self._task
        except asyncio.CancelledError:
            await self._records.hand_back(DATASETS, self._id, self._token)
            return False

    async def _build(self) -> bool:
        dataset = await self._records.dataset(self._id)
        with acting_for(dataset.creator):
            return await self._build_for(dataset)

    async def _build_for(self, dataset: Dataset) -> bool:
        """Builds it for its creator: of what that caller may not read, nothing comes in."""
        building = DatasetBuilding(self._generator, self._retriever, teachers(self._settings.teacher, self._generator))
        while True:
            try:
                with step("build dataset", {"corella.dataset.name": f"datasets/{dataset.id}"}) as span:
                    built = await building.build(dataset, self._copied, self._progress)
                    span.set_attribute("corella.examples", len(built.examples))
                break
            except Unavailable as error:
                # Passing: the generator loads its model, a store restarts.
                log.warning("dataset_waits", dataset=self._id, reason=error.reason, detail=error.message)
                await asyncio.sleep(_RETRY_SECONDS)
            except CorellaError as error:
                failure = Failure(error.code.value[0], error.reason, error.message)
                trace.get_current_span().set_status(StatusCode.ERROR, error.reason)
                await self._records.finish(DATASETS, self._id, self._token, state=DatasetState.FAILED, error=failure)
                return True
        with step("store dataset"):
            await store(self._shelf, self._id, built)
        ready = described(dataset, built)
        names = (
            "state", "training_count", "validation_count", "held_out_count", "duplicate_count", "corner_case_count", "dropped_count",
            "warnings", "fingerprint", "done_count", "total_count",
        )  # fmt: skip
        await self._records.finish(DATASETS, self._id, self._token, **{name: getattr(ready, name) for name in names})
        return True

    async def _copied(self, dataset_id: str) -> list[Example]:
        """The examples of another dataset of the same tenant. Raises `DatasetNotFound`, `DatasetNotReady`."""
        if not of_caller((await self._records.dataset(dataset_id)).creator.tenant):
            raise DatasetNotFound(f"datasets/{dataset_id}")
        return await load(self._shelf, dataset_id)

    def _progress(self, done: int, total: int) -> None:
        """Called from the event loop, often; written now and then."""
        if time.monotonic() - self._written_at < _WRITE_SECONDS and done < total:
            return
        self._written_at = time.monotonic()
        # No part of the trace: there are many.
        with attached({}):
            write = asyncio.create_task(self._write(done, total))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)

    async def _write(self, done: int, total: int) -> None:
        try:
            held = await self._records.update(DATASETS, self._id, self._token, done_count=done, total_count=total)
        except CorellaError as error:
            log.warning("progress_not_written", dataset=self._id, reason=error.reason)
            return
        if not held:
            # Another driver has it by now.
            self.interrupt()
