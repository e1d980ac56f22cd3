"""How much time is left for the request being served, known to every task it starts.

gRPC does not hand deadlines on by itself: the interceptor stores the end of the request here, and every outgoing call asks
`remaining` for what is left.
"""

from __future__ import annotations

import time
from contextvars import ContextVar

from services.chassis.errors import DeadlineExceeded

_ends_at: ContextVar[float | None] = ContextVar("corella_deadline", default=None)


def set_remaining(seconds: float) -> None:
    """States that the current request ends in so many seconds."""
    _ends_at.set(time.monotonic() + seconds)


def remaining(at_most: float) -> float:
    """Seconds left for an outgoing call: what is left of the request, and no more than `at_most`.

    Raises `DeadlineExceeded` when nothing is left, so that no call is begun in vain.
    """
    ends_at = _ends_at.get()
    if ends_at is None:
        return at_most
    left = ends_at - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("The deadline passed before the request was answered.")
    return min(left, at_most)
