"""Many siblings of a kind become one line, with what is below them; trouble is never hidden; and lines lead to the right parents."""

from __future__ import annotations

from corella.cli.trace_rows import collapsed, guide_lines
from corella.tracing.spans import Span
from corella.tracing.tree import lay_out


def span(identity: str, parent: str = "", *, name: str = "", begin: int = 0, failed: bool = False) -> Span:
    return Span("00" * 16, identity, name or identity, begin, begin + 10, parent_id=parent, service="s", failed=failed)


def documents(count: int, *, broken: int = -1) -> list[Span]:
    """Each with two steps below it."""
    found = [span("root")]
    for number in range(count):
        document = f"d{number}"
        found.append(span(document, "root", name="document", begin=number * 100))
        found += [
            span(f"{document}{step}", document, name=step, begin=number * 100, failed=number == broken) for step in ("chunk", "embed")
        ]
    return found


def told(spans: list[Span]) -> list[tuple[str, int, int]]:
    return [(shown.row.span.name, shown.count, shown.span_count) for shown in collapsed(lay_out(spans).rows)]


def test_a_few_are_shown_one_by_one() -> None:
    assert len(told(documents(4))) == 13


def test_of_many_two_are_shown_and_the_rest_in_one_line_with_what_is_below() -> None:
    shown = told(documents(10))
    assert shown[-1] == ("document", 8, 24)
    assert [name for name, _, _ in shown] == ["root", *["document", "chunk", "embed"] * 2, "document"]
    [rest] = [each for each in collapsed(lay_out(documents(10)).rows) if each.count > 1]
    assert (rest.duration_ns, rest.end_ns) == (80, 910)


def test_one_with_trouble_below_it_is_shown_whole() -> None:
    shown = told(documents(10, broken=7))
    assert ("document", 7, 21) in shown
    assert len([name for name, count, _ in shown if name == "document" and count == 1]) == 3


def test_siblings_of_a_kind_are_found_between_others() -> None:
    spans = [span("root")] + [span(str(number), "root", name="get" if number % 2 else "set", begin=number) for number in range(20)]
    assert told(spans) == [("root", 1, 1), ("set", 1, 1), ("get", 1, 1), ("set", 1, 1), ("get", 1, 1), ("set", 8, 8), ("get", 8, 8)]


def test_lines_lead_from_each_parent_to_its_children() -> None:
    assert guide_lines([0, 1, 2, 2, 1, 2, 0, 1]) == ["", "├ ", "│ ├ ", "│ └ ", "└ ", "  └ ", "", "└ "]
    assert guide_lines([]) == []
