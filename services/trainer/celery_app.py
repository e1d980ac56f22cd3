"""Celery as the trainer uses it: calls that wake workers, and the beat that looks after schedules.

What is to be done lies in the records; a message only says "there is work". A message that is lost, doubled or late loses, doubles or
breaks nothing, and messages are acknowledged at once: what a killed worker was doing is known by its lease, not by its message.
"""

from __future__ import annotations

import asyncio

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from services.chassis.celery_options import celery_options
from services.chassis.message_spans import sending
from services.chassis.telemetry import get_logger
from services.trainer.redis_records import PREFIX

log = get_logger(__name__)

QUEUE = "train"
RUN_JOB = "corella.trainer.run_job"
BUILD_DATASET = "corella.trainer.build_dataset"
CHECK_SCHEDULES = "corella.trainer.check_schedules"


def make_celery(redis_url: str) -> Celery:
    """The Celery application. Nothing is connected yet."""
    app = Celery("corella-trainer", broker=redis_url, set_as_current=False)
    app.conf.update(**celery_options(QUEUE, PREFIX), task_acks_late=False)
    return app


class CeleryQueue:
    """Sends wake-up calls."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    async def wake(self, task: str) -> None:
        """Calls a worker. A failure is logged only: the worker's own watch looks every few seconds."""
        try:
            with sending(QUEUE, task) as headers:
                await asyncio.to_thread(self._send, task, headers)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("wake_up_failed", task=task, error=str(error))

    def _send(self, task: str, headers: dict[str, str]) -> None:
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
            self._app.send_task(task, connection=connection, queue=QUEUE, headers=headers, ignore_result=True, retry=False, expires=30)
