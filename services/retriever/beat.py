"""The retriever's clock: `python -m services.retriever.beat`. Celery beat, which calls a worker to begin the syncs that are due.

It decides nothing: which sources are due is judged, and their syncs are begun, in one atomic step of whichever worker is called. So two
beats do not sync twice, and what was missed while none was there is caught up once. It also reports how documents, queues and sources
stand (standing.py), because there is one of it in a deployment.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from services.chassis.telemetry import get_logger, setup_telemetry
from services.retriever.celery_queue import QUEUE, SYNC_DUE, make_celery
from services.retriever.redis_catalog import PREFIX
from services.retriever.settings import RetrieverSettings
from services.retriever.standing import show_standing

log = get_logger(__name__)
_LIFE_SECONDS = 10


def main() -> int:
    """Beats until told to stop. Returns the exit status."""
    settings = RetrieverSettings()
    shutdown = setup_telemetry("retriever-beat", settings.telemetry)
    app = make_celery(settings.redis_url)
    seconds = settings.sync.schedule_seconds
    # A call that was not taken before the next one is of no use.
    app.conf.beat_schedule = {"sources": {"task": SYNC_DUE, "schedule": seconds, "options": {"queue": QUEUE, "expires": seconds}}}
    # A beat that comes back calls at once, and not for every time it missed.
    app.conf.beat_max_loop_interval = seconds
    gauges = show_standing(settings.redis_url)
    threading.Thread(target=_show_life, args=(settings.redis_url,), name="life", daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="corella-beat-") as folder:
        # Celery's own memory of when it last called; there is nothing in it that must last.
        beat = app.Beat(
            quiet=True, schedule=str(Path(folder) / "schedule"), loglevel=settings.telemetry.log_level.upper(), redirect_stdouts=False
        )
        beat.setup_logging = lambda *_, **__: None
        try:
            beat.run()
        finally:
            gauges.stop()
            shutdown()
    return 0


def _show_life(redis_url: str) -> None:
    redis = Redis.from_url(redis_url, socket_connect_timeout=2, socket_timeout=5)
    while True:
        try:
            redis.set(f"{PREFIX}beat:{socket.gethostname()}:{os.getpid()}", "1", ex=_LIFE_SECONDS)
        except RedisError as error:
            log.warning("life_not_shown", error=str(error))
        time.sleep(_LIFE_SECONDS / 3)


if __name__ == "__main__":
    sys.exit(main())
