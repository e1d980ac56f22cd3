"""What a sync decides by."""

from __future__ import annotations

import pytest

from services.retriever.source_domain import Item
from services.retriever.sync_rules import MOVED, asks_first, cursor_for, retry_seconds


@pytest.mark.parametrize(
    ("gone", "known", "limit", "asked"),
    [
        (0, 0, 0.2, False),
        (4, 4, 0.0, False),  # fewer than five are always removed
        (5, 5, 0.0, True),
        (20, 100, 0.2, False),
        (21, 100, 0.2, True),
        (100, 100, 1.0, False),
        (5, 1000, 0.0, True),
    ],
)
def test_a_sudden_loss_asks_first(gone: int, known: int, limit: float, asked: bool) -> None:
    assert asks_first(gone, known, limit) is asked


def test_waits_double_up_to_a_limit_and_are_never_shorter_than_the_place_asked_for() -> None:
    assert [retry_seconds(n, 2.0, 60.0, None) for n in range(6)] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert retry_seconds(0, 2.0, 60.0, 90.0) == 90.0
    assert retry_seconds(3, 2.0, 60.0, 1.0) == 16.0


def test_a_cursor_counts_only_while_everything_it_covers_is_still_here() -> None:
    fine, lost = Item("1", "d", "x"), Item("1", "d", "x", current=False)
    assert cursor_for("monday", {}) == ""
    assert cursor_for("monday", {"a": fine}) == "monday"
    assert cursor_for("monday", {"a": fine, "b": lost}) == ""
    assert cursor_for("monday", {"a": fine, f"{MOVED}d": lost}) == "monday"
