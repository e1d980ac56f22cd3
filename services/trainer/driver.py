"""Does one piece of work from its beginning, or from its last checkpoint, to its end: `python -m services.trainer.driver LANE ID`.

Started by the worker, which holds the lease whose token is in `CORELLA_TRAINER_LEASE_TOKEN`. Dies with the worker. Exit status 0: the
work has ended, however; 75: it was told to stop, and another driver goes on; anything else: it died, which counts as a loss.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from services.chassis.channel import Remote
from services.chassis.parent_death import die_with_parent
from services.chassis.steps import step
from services.chassis.telemetry import attached, setup_telemetry
from services.trainer.app import make_records
from services.trainer.dataset_run import DatasetRun
from services.trainer.exit_status import INTERRUPTED
from services.trainer.fsspec_shelf import FsspecShelf
from services.trainer.grpc_generator import GrpcGenerator
from services.trainer.grpc_retriever import GrpcRetriever
from services.trainer.job_run import JobRun
from services.trainer.redis_records import JOBS, open_redis
from services.trainer.settings import TrainerSettings


async def drive(settings: TrainerSettings, lane: str, work_id: str, token: str) -> int:
    """Does the work. Returns the exit status."""
    redis = open_redis(settings.redis_url.get_secret_value())
    generator, retriever = Remote("generator", settings.generator), Remote("retriever", settings.retriever)
    records, shelf = make_records(settings, redis), FsspecShelf(settings.shelf_url)
    serving, documents = GrpcGenerator(generator), GrpcRetriever(retriever)
    try:
        run: JobRun | DatasetRun
        if lane == JOBS:
            run = JobRun(settings, records, shelf, serving, documents, job_id=work_id, token=token)
        else:
            run = DatasetRun(settings, records, shelf, serving, documents, dataset_id=work_id, token=token)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, run.interrupt)
        ended = await run.run()
        return 0 if ended else INTERRUPTED
    finally:
        await generator.close()
        await retriever.close()
        await redis.aclose()


def main() -> int:
    """Runs the driver."""
    die_with_parent()
    lane, work_id = sys.argv[1:3]
    settings = TrainerSettings()
    os.nice(settings.running.niceness)
    # The metrics port is the worker's. What is to be seen of a job for longer than its driver lives, the beat reports from the records.
    shutdown = setup_telemetry("trainer-driver", settings.telemetry.model_copy(update={"metrics_port": 0}))
    context = {name: os.environ[name.upper()] for name in ("traceparent", "tracestate") if name.upper() in os.environ}
    try:
        with attached(context), step(f"{lane.removesuffix('s')} run", {"corella.work.id": work_id}):
            return asyncio.run(drive(settings, lane, work_id, os.environ["CORELLA_TRAINER_LEASE_TOKEN"]))
    finally:
        shutdown()


if __name__ == "__main__":
    sys.exit(main())
