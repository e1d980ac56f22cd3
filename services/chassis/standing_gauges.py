"""Gauges of what stands in a store: looked up in a thread now and then, and shown as they were found.

    standing = StandingGauges(look, "queues")
    standing.gauge("corella.queue.depth", "{entry}", "Entries that wait, by queue.")
    standing.start()

`look` returns, for each name, values with their attributes. A scrape never waits for the store. What is older than three rounds is not
shown: a store that is away must not look like one that stands still.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from opentelemetry.metrics import CallbackOptions, Observation

from services.chassis.telemetry import get_logger, meter

log = get_logger(__name__)

Found = Mapping[str, Sequence[tuple[float, Mapping[str, str | int]]]]

INTERVAL_SECONDS = 15.0
_SHOWN_FOR_ROUNDS = 3


class StandingGauges:
    """What is looked up together. `look` may block, and may raise any exception: that round is then left out, and logged."""

    def __init__(self, look: Callable[[], Found], what: str, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._look = look
        self._what = what
        self._interval_seconds = interval_seconds
        self._found: Found = {}
        self._found_at = -float("inf")
        self._ended = threading.Event()

    def gauge(self, name: str, unit: str, description: str) -> None:
        """Shows what is found under a name."""
        meter.create_observable_gauge(name, [self._reader(name)], unit, description)

    def counter(self, name: str, unit: str, description: str) -> None:
        """Likewise for a total that only grows, such as one that is summed up from records."""
        meter.create_observable_counter(name, [self._reader(name)], unit, description)

    def start(self) -> None:
        """Looks from now on, in a thread of its own."""
        threading.Thread(target=self._look_on, name=f"look-at-{self._what}", daemon=True).start()

    def stop(self) -> None:
        """Looks no more."""
        self._ended.set()

    def look(self) -> None:
        """Looks once."""
        try:
            self._found = self._look()
            self._found_at = time.monotonic()
        except Exception as error:
            log.warning("standing_not_read", what=self._what, error=type(error).__name__)

    def _look_on(self) -> None:
        while not self._ended.is_set():
            self.look()
            self._ended.wait(self._interval_seconds)

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            if time.monotonic() - self._found_at > self._interval_seconds * _SHOWN_FOR_ROUNDS:
                return []
            return [Observation(value, attributes) for value, attributes in self._found.get(name, ())]

        return read
