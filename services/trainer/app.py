"""Wires the trainer: the only place that knows which class meets which port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chassis.channel import Remote
from services.chassis.server import Lifecycle
from services.trainer.celery_app import CeleryQueue, make_celery
from services.trainer.cost_keeping import CostKeeping
from services.trainer.dataset_building import DatasetBuilding
from services.trainer.dataset_keeping import DatasetKeeping
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.grpc_generator import GrpcGenerator
from services.trainer.grpc_retriever import GrpcRetriever
from services.trainer.job_keeping import JobKeeping
from services.trainer.promoting import Promoting
from services.trainer.redis_records import RedisRecords, open_redis
from services.trainer.servicer import TrainerServicer
from services.trainer.settings import TrainerSettings


@asynccontextmanager
async def build(settings: TrainerSettings, _lifecycle: Lifecycle) -> AsyncIterator[TrainerServicer]:
    """The servicer. Nothing has to be there yet: Redis, generator and retriever are met when they are needed."""
    redis_url = settings.redis_url.get_secret_value()
    redis = open_redis(redis_url)
    generator, retriever = Remote("generator", settings.generator), Remote("retriever", settings.retriever)
    records = make_records(settings, redis)
    shelf = FsspecShelf(settings.shelf_url)
    queue = CeleryQueue(make_celery(redis_url))
    serving = GrpcGenerator(generator)
    building = DatasetBuilding(serving, GrpcRetriever(retriever))
    datasets = DatasetKeeping(records, shelf, building, queue, settings.limits)
    try:
        yield TrainerServicer(
            datasets=datasets,
            jobs=JobKeeping(records, shelf, datasets, queue, settings.limits.max_queued_jobs),
            promoting=Promoting(shelf, records),
            costs=CostKeeping(records, shelf, settings.prices, serving.answer_count),
            records=records,
            shelf=shelf,
            allowed_teachers=settings.teacher.allowed_urls,
        )
    finally:
        await generator.close()
        await retriever.close()
        await redis.aclose()


def make_records(settings: TrainerSettings, redis: object) -> RedisRecords:
    """The records, with what the settings say of them."""
    return RedisRecords(
        redis,  # type: ignore[arg-type]
        stall_seconds=settings.running.stall_seconds,
        max_log_lines=settings.limits.max_log_lines,
        keep_seconds=settings.running.keep_jobs_days * 86_400,
    )
