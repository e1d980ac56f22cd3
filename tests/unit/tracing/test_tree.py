"""Spans become rows: parents before children, own time, and what is wrong with a trace is said and not mended."""

from __future__ import annotations

from corella.tracing.spans import Span
from corella.tracing.tree import Waterfall, lay_out

MS = 1_000_000


def span(name: str, begin: int, end: int, parent: str = "", *, service: str = "one", failed: bool = False) -> Span:
    """Times in milliseconds; the name is the id."""
    return Span("00" * 16, name, name, begin * MS, end * MS, parent_id=parent, service=service, failed=failed)


def shape(waterfall: Waterfall) -> list[tuple[str, int]]:
    return [(row.span.name, row.depth) for row in waterfall.rows]


def test_children_follow_their_parent_in_the_order_of_their_begin() -> None:
    found = lay_out([span("c", 6, 8, "a"), span("d", 3, 4, "b"), span("b", 2, 5, "a"), span("a", 0, 10)])
    assert shape(found) == [("a", 0), ("b", 1), ("d", 2), ("c", 1)]
    assert (found.duration_ns, found.orphan_count, found.error_count) == (10 * MS, 0, 0)


def test_own_time_is_what_no_child_covers_and_children_at_once_count_once() -> None:
    found = lay_out([span("a", 0, 10), span("b", 1, 5, "a"), span("c", 3, 7, "a"), span("late", 9, 20, "a")])
    assert {row.span.name: row.own_ns // MS for row in found.rows} == {"a": 3, "b": 4, "c": 4, "late": 11}


def test_a_span_whose_parent_is_missing_stands_at_the_top_and_says_so() -> None:
    found = lay_out([span("a", 0, 10), span("lost", 2, 3, "nobody"), span("child", 2, 3, "lost")])
    assert shape(found) == [("a", 0), ("lost", 0), ("child", 1)]
    assert [row.span.name for row in found.rows if row.is_orphan] == ["lost"]


def test_a_begin_before_the_parents_tells_of_clocks_that_differ_and_stays_where_it_is() -> None:
    found = lay_out([span("a", 100, 200), span("b", 70, 120, "a", service="two"), span("c", 90, 120, "a", service="two")])
    assert found.skewed == (("one", "two", 30 * MS),)
    assert (found.begin_ns, found.duration_ns) == (70 * MS, 130 * MS)


def test_work_that_goes_on_after_its_parent_is_no_matter_of_clocks() -> None:
    assert lay_out([span("call", 0, 5), span("work", 50, 90, "call", service="worker")]).skewed == ()


def test_spans_in_a_circle_are_all_shown_once() -> None:
    found = lay_out([span("a", 0, 1, "c"), span("b", 1, 2, "a"), span("c", 2, 3, "b"), span("self", 4, 5, "self")])
    assert sorted(row.span.name for row in found.rows) == ["a", "b", "c", "self"]
    assert found.orphan_count == 2


def test_a_chain_of_ten_thousand_spans_is_laid_out() -> None:
    chain = [span(str(number), number, 20_000, str(number - 1) if number else "") for number in range(10_000)]
    assert lay_out(chain).rows[-1].depth == 9_999


def test_a_clock_set_back_gives_no_negative_time() -> None:
    [row] = lay_out([span("a", 10, 5)]).rows
    assert (row.span.duration_ns, row.own_ns) == (0, 0)
