"""Celery as the retriever uses it: wake-up calls for workers.

The truth about what is to be done lies in the catalog (documents, leases, attempts). A message only says "there is work": a worker that
receives one takes documents from the catalog until there are none. So a message that is lost, doubled or late loses, doubles or breaks
nothing, and redelivery after a crash does not depend on how a broker guesses that a worker is dead.
"""

from __future__ import annotations

import asyncio

from celery import Celery
from kombu.exceptions import OperationalError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.chassis.celery_options import celery_options
from services.chassis.message_spans import sending
from services.chassis.telemetry import get_logger
from services.retriever.redis_catalog import PREFIX

log = get_logger(__name__)

QUEUE = "ingest"
DRAIN = "corella.retriever.drain"
SYNC_DUE = "corella.retriever.sync_due"
_MESSAGES_AT_MOST = 8


def make_celery(redis_url: str) -> Celery:
    """The Celery application. Nothing is connected yet."""
    app = Celery("corella-retriever", broker=redis_url, set_as_current=False)
    app.conf.update(
        # A drain ends within half a minute, so a message that is older belongs to a dead worker.
        **celery_options(QUEUE, PREFIX, visibility_timeout=60, unacked_restore_interval=5, unacked_restore_throttle=1),
        task_acks_late=True,
        task_reject_on_worker_lost=True,
    )
    return app


class CeleryQueue:
    """Sends wake-up calls."""

    def __init__(self, app: Celery, redis: Redis) -> None:
        self._app = app
        self._redis = redis

    async def wake(self, documents: int) -> None:
        """Calls workers, as many as could be of use. A failure is logged only: the upkeep calls again."""
        try:
            # The key is Celery's: a list of the queue's name after the global prefix.
            calls = min(documents, _MESSAGES_AT_MOST) - await self._redis.llen(f"{PREFIX}{QUEUE}")
            if calls > 0:
                with sending(QUEUE, DRAIN, calls) as headers:
                    await asyncio.to_thread(self._send, calls, headers)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("wake_up_failed", error=str(error))

    def _send(self, calls: int, headers: dict[str, str]) -> None:
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
            for _ in range(calls):
                self._app.send_task(DRAIN, connection=connection, queue=QUEUE, headers=headers, ignore_result=True, retry=False)
