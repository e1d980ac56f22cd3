"""Counts the seconds a training has used over all its attempts, those that were lost with a killed worker included."""

from __future__ import annotations

import json
import time

from services.chassis.checked_folder import read_whole, write_whole
from services.trainer.world import World

_INTERVAL = 5.0
"""Seconds between two notes; as much at most is lost with a worker."""


class Spending:
    """Worker-seconds of one training; the first worker notes them in `spent.json` below `url`."""

    def __init__(self, url: str, world: World) -> None:
        self._url, self._world = f"{url}/spent.json", world
        self._before, self._began, self._noted = 0.0, time.monotonic(), time.monotonic()

    def start(self, at_least: float) -> None:
        """Goes on from what earlier attempts noted, and from `at_least`, what their checkpoint says."""
        noted = read_whole(self._url)
        try:
            self._before = max(at_least, float(json.loads(noted)["worker_seconds"])) if noted else at_least
        except (ValueError, KeyError, TypeError):
            self._before = at_least

    @property
    def worker_seconds(self) -> float:
        """Seconds summed over the workers, so far."""
        return self._before + (time.monotonic() - self._began) * self._world.size

    def note(self) -> None:
        """Writes the sum down if the last note is old."""
        if self._world.first and time.monotonic() - self._noted >= _INTERVAL:
            self._noted = time.monotonic()
            write_whole(self._url, json.dumps({"worker_seconds": self.worker_seconds}).encode())
