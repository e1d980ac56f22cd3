"""Datasets of callers: taken from a stream, queued to be built, looked at, deleted."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from services.chassis import identity
from services.chassis.steps import current_traceparent
from services.chassis.telemetry import get_logger
from services.trainer.celery_app import BUILD_DATASET, CeleryQueue
from services.trainer.dataset_building import BuiltDataset, DatasetBuilding
from services.trainer.domain import Dataset, DatasetCopy, DatasetNotFound, DatasetNotReady, DatasetState, Example, Source, Split
from services.trainer.example_reader import ExampleReader
from services.trainer.examples import from_lines, to_lines
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.owning import of_caller
from services.trainer.redis_records import RedisRecords, fresh_id
from services.trainer.settings import LimitSettings

log = get_logger(__name__)


class DatasetKeeping:
    """Datasets as callers see them."""

    def __init__(
        self, records: RedisRecords, shelf: FsspecShelf, building: DatasetBuilding, queue: CeleryQueue, limits: LimitSettings
    ) -> None:
        self._records = records
        self._shelf = shelf
        self._building = building
        self._queue = queue
        self._limits = limits

    async def create(self, name: str, split: Split, pieces: AsyncIterator[bytes], request_id: str) -> Dataset:
        """Takes a stream of JSON lines. Raises `ExamplesInvalid`; nothing is then stored."""
        reader = ExampleReader(self._limits)
        digest = hashlib.sha256(f"{name} {split}".encode())
        async for piece in pieces:
            digest.update(piece)
            # Parsing a large piece takes longer than other calls should wait.
            await asyncio.to_thread(reader.feed, piece)
        examples = await asyncio.to_thread(reader.finish)
        dataset = Dataset(fresh_id(), name, DatasetState.READY, time.time(), split, creator=identity.current())
        built = await self._building.arrange(examples, split)
        await store(self._shelf, dataset.id, built)
        kept = await self._records.create_dataset(described(dataset, built), request_id, digest.hexdigest())
        if kept.id != dataset.id:  # a repeat: the first one's examples are on the shelf already
            await self._shelf.remove(f"datasets/{dataset.id}")
        return kept

    async def build(self, name: str, sources: tuple[Source, ...], split: Split, request_id: str) -> Dataset:
        """Queues a dataset to be built. Raises `DatasetNotFound`, `DatasetNotReady` for a dataset it is to be made from."""
        for source in sources:
            if isinstance(source, DatasetCopy):
                await self.ready(source.dataset_id)
        dataset = Dataset(
            fresh_id(), name, DatasetState.BUILDING, time.time(), split, sources, creator=identity.current(),
            traceparent=current_traceparent(),
        )  # fmt: skip
        content = hashlib.sha256(repr((name, sources, split)).encode()).hexdigest()
        dataset = await self._records.create_dataset(dataset, request_id, content)
        await self._queue.wake(BUILD_DATASET)
        return dataset

    async def ready(self, dataset_id: str) -> Dataset:
        """A dataset that can be trained on. Raises `DatasetNotFound`, `DatasetNotReady`."""
        dataset = await self.get(dataset_id)
        if dataset.state is DatasetState.BUILDING:
            raise DatasetNotReady(f"`datasets/{dataset_id}` is still being built.")
        if dataset.state is DatasetState.FAILED:
            why = dataset.error.message if dataset.error else ""
            raise DatasetNotReady(f"`datasets/{dataset_id}` could not be built: {why}")
        return dataset

    async def get(self, dataset_id: str) -> Dataset:
        """Raises `DatasetNotFound`, also for one of another tenant."""
        found = await self._records.dataset(dataset_id)
        if not of_caller(found.creator.tenant):
            raise DatasetNotFound(f"datasets/{dataset_id}")
        return found

    async def page(self, size: int, after: str) -> tuple[list[Dataset], str]:
        """A page of the tenant's, newest first, and the position after it."""
        return await self._records.page_datasets(size, after, identity.current().tenant)

    async def examples(self, dataset_id: str, size: int, after: str) -> tuple[list[str], str]:
        """A page of a dataset's examples, and the position after it; those on documents the caller may not read are left out of the page.

        Raises `DatasetNotFound`, `DatasetNotReady`, and the retriever's errors.
        """
        await self.ready(dataset_id)
        content = await self._shelf.read(f"datasets/{dataset_id}/examples.jsonl")
        lines = (content or b"").decode().splitlines()
        start = int(after or 0)
        page = lines[start : start + size]
        found = await asyncio.to_thread(from_lines, "".join(f"{line}\n" for line in page).encode())
        permitted = {example.id for example in await self._building.permitted(found)}
        shown = [line for line, example in zip(page, found, strict=True) if example.id in permitted]
        return shown, str(start + size) if start + size < len(lines) else ""

    async def delete(self, dataset_id: str) -> bool:
        """Whether there was one. Raises `DatasetInUse`."""
        try:
            await self.get(dataset_id)
        except DatasetNotFound:
            return False
        there = await self._records.delete_dataset(dataset_id)
        await self._shelf.remove(f"datasets/{dataset_id}")
        return there


async def load(shelf: FsspecShelf, dataset_id: str) -> list[Example]:
    """The examples of a dataset. Raises `DatasetNotReady` when they are not on the shelf."""
    content = await shelf.read(f"datasets/{dataset_id}/examples.jsonl")
    if content is None:
        raise DatasetNotReady(f"The examples of `datasets/{dataset_id}` are not on the shelf.")
    return await asyncio.to_thread(from_lines, content)


async def store(shelf: FsspecShelf, dataset_id: str, built: BuiltDataset) -> None:
    """Puts the examples on the shelf."""
    content = await asyncio.to_thread(to_lines, built.examples)
    await shelf.write(f"datasets/{dataset_id}/examples.jsonl", content)


def described(dataset: Dataset, built: BuiltDataset) -> Dataset:
    """The dataset with what came out of building it."""
    return replace(
        dataset,
        state=DatasetState.READY,
        training_count=built.training_count,
        validation_count=built.validation_count,
        held_out_count=built.held_out_count,
        duplicate_count=built.duplicate_count,
        corner_case_count=built.corner_case_count,
        dropped_count=built.dropped_count,
        warnings=built.warnings,
        fingerprint=built.fingerprint,
        done_count=len(built.examples),
        total_count=len(built.examples),
    )
