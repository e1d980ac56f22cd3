"""How long to wait before a request is made again. Pure but for chance."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def asked_for(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that `Retry-After` asks for (RFC 9110, 10.2.3: a number, or a date); None when it asks for none that can be read."""
    written = headers.get("retry-after", "").strip()
    if written.isascii() and written.isdigit() and len(written) < 10:
        return float(written)
    try:
        date = parsedate_to_datetime(written)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds())


def back_off(attempt: int, first_seconds: float, most_seconds: float) -> float:
    """Seconds before attempt `attempt` + 1, counted from 1: doubling, half of it by chance, so that those who failed together part."""
    whole = min(most_seconds, first_seconds * 2.0 ** (attempt - 1))
    return whole * random.uniform(0.5, 1.0)  # noqa: S311 no secret
