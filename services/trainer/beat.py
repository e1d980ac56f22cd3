"""The trainer's clock: `python -m services.trainer.beat`. Celery beat, which calls a worker to look after the schedules.

It decides nothing: whether a schedule is due is judged under a lock by whichever worker is called, so two beats do not train twice. It
also reports how jobs and queues stand (standing.py), because there is one of it in a deployment.
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
from services.trainer.celery_app import CHECK_SCHEDULES, QUEUE, make_celery
from services.trainer.redis_records import PREFIX
from services.trainer.settings import TrainerSettings
from services.trainer.standing import show_standing

log = get_logger(__name__)
_LIFE_SECONDS = 10


def main() -> int:
    """Beats until told to stop. Returns the exit status."""
    settings = TrainerSettings()
    shutdown = setup_telemetry("trainer-beat", settings.telemetry)
    redis_url = settings.redis_url.get_secret_value()
    app = make_celery(redis_url)
    app.conf.beat_schedule = {
        "schedules": {
            "task": CHECK_SCHEDULES,
            "schedule": settings.running.schedule_seconds,
            # A call that was not taken before the next one is of no use.
            "options": {"queue": QUEUE, "expires": settings.running.schedule_seconds},
        }
    }
    gauges = show_standing(settings)
    threading.Thread(target=_show_life, args=(redis_url,), name="life", daemon=True).start()
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
