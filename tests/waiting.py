"""Waiting for what must come true.

The limits are for machines that are shared and stand still now and then: a limit that is never reached costs nothing, and one that is
reached by a machine's pause says nothing about Corella. So each is `PATIENCE` times what a slow machine was seen to take. Where how long
something takes is the promise itself, `patience=1` says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = 4.0


def until(holds: Callable[[], Found], seconds: float = 30.0, what: str = "it", *, patience: float = PATIENCE) -> Found:
    """What `holds` returns once it is true. Fails with `what` when that is not within `seconds` times `patience`: 1 for a promise."""
    ends = time.monotonic() + seconds * patience
    while not (found := holds()):
        assert time.monotonic() < ends, f"{what} did not come true within {seconds * patience:g} s"
        time.sleep(0.05)
    return found
