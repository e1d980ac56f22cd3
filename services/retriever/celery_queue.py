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

from services.chassis.telemetry import carrier, get_logger
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
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        # Celery's stand-in for stderr swallows what our log handler writes to it in the child processes.
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": PREFIX,
            # A drain ends within half a minute, so a message that is older belongs to a dead worker.
            "visibility_timeout": 60,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 2,
        },
    )
    return app


class CeleryQueue:
    """Sends wake-up calls."""

    def __init__(self, app: Celery, redis: Redis) -> None:
        self._app = app
        self._redis = redis

    async def wake(self, documents: int) -> None:
        """Calls workers, as many as could be of use. A failure is logged only: the upkeep calls again."""
        headers = carrier()
        try:
            # The key is Celery's: a list of the queue's name after the global prefix.
            waiting = await self._redis.llen(f"{PREFIX}{QUEUE}")
            await asyncio.to_thread(self._send, min(documents, _MESSAGES_AT_MOST) - waiting, headers)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("wake_up_failed", error=str(error))

    def _send(self, calls: int, headers: dict[str, str]) -> None:
        if calls <= 0:
            return
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
            for _ in range(calls):
                self._app.send_task(DRAIN, connection=connection, queue=QUEUE, headers=headers, ignore_result=True, retry=False)
