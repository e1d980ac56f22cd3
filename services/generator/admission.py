"""How many calls may be under way: as many as the engine writes at once, and a queue behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.chassis.telemetry import meter
from services.generator.domain import QueueFull

_in_flight = meter.create_up_down_counter("corella.generator.calls.active", unit="{call}", description="Calls written or waiting.")
_rejected = meter.create_counter("corella.generator.calls.rejected", unit="{call}", description="Calls refused because too many waited.")


class Admission:
    """Counts calls under way. One is let in before it does any work, so that a refused call has cost nothing."""

    def __init__(self, max_sequences: int, max_queued: int) -> None:
        self._limit = max_sequences + max_queued
        self._max_sequences = max_sequences
        self.active = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A place for one call. Raises `QueueFull`."""
        if self.active >= self._limit:
            _rejected.add(1)
            # Roughly one batch of texts has to end before there is room.
            raise QueueFull(f"{self.active} calls are being served or wait; try again.", retry_after_seconds=2.0, limit=self._limit)
        self.active += 1
        _in_flight.add(1)
        try:
            yield
        finally:
            self.active -= 1
            _in_flight.add(-1)
