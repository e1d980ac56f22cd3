"""What a sync decides by: how much may go, when to try again, and what of a found document is taken. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from services.retriever.source_domain import ALWAYS_REMOVED, Item

MOVED = "\0moved:"
"""Begins the key under which a source remembers a document whose place now has another URI: it goes when everything was read."""


def asks_first(gone: int, known: int, loss_limit: float) -> bool:
    """Whether so many of the documents known are gone that none is removed without being asked.

    >>> asks_first(4, 4, 0.2), asks_first(20, 100, 0.2), asks_first(21, 100, 0.2)
    (False, False, True)
    """
    return gone >= ALWAYS_REMOVED and gone > loss_limit * known


def retry_seconds(retries: int, base: float, most: float, asked: float | None) -> float:
    """Wait before the next attempt: doubling, at least what the place asked for."""
    return max(min(most, base * 2.0**retries), asked or 0.0)


def cursor_for(cursor: str, items: Mapping[str, Item]) -> str:
    """What the last visit left, unless something of it was lost since: then nothing, so that the place is compared in full."""
    whole = all(item.current for key, item in items.items() if not key.startswith(MOVED))
    return cursor if items and whole else ""
