"""Spans that tell of an error no more than its kind, and links."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from opentelemetry.trace import StatusCode

sys.path.insert(0, str(Path(__file__).parents[2]))

from span_recording import recorded_spans

from services.chassis.errors import NotFound, Unavailable
from services.chassis.steps import add_link, current_traceparent, link, step

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("error", "failed"),
    [(ValueError("a question's text"), True), (Unavailable("a question's text"), True), (NotFound("a question's text"), False)],
)
def test_an_error_is_told_by_its_kind_and_never_by_its_text(error: Exception, failed: bool) -> None:
    with recorded_spans() as spans, pytest.raises(type(error)), step("look", {"corella.passages": 3}):
        raise error
    span = spans.one("look")
    assert dict(span.attributes) == {"corella.passages": 3, "error.type": type(error).__name__}
    assert (span.status.status_code is StatusCode.ERROR) is failed
    assert "question's" not in spans.everything()


def test_a_step_is_the_current_span_inside() -> None:
    with recorded_spans() as spans:
        with step("outer") as outer:
            kept = current_traceparent()
            with step("inner"):
                pass
        assert current_traceparent() == ""
    assert spans.parent(spans.one("inner")) == "outer"
    assert kept.startswith(f"00-{outer.get_span_context().trace_id:032x}-{outer.get_span_context().span_id:016x}-")


def test_a_link_says_what_it_leads_to() -> None:
    with recorded_spans() as spans:
        with step("one", links=link(TRACEPARENT, "answer")):
            pass
        with step("two") as span:
            add_link(span, TRACEPARENT, "answer")
    for name in ("one", "two"):
        (found,) = spans.one(name).links
        assert (f"{found.context.span_id:016x}", found.attributes) == ("b7ad6b7169203331", {"corella.link": "answer"})


@pytest.mark.parametrize("text", ["", "somewhere", TRACEPARENT[:-3], TRACEPARENT.replace("b7ad6b7169203331", "0" * 16)])
def test_what_is_no_trace_context_leads_nowhere(text: str) -> None:
    with step("current"):
        assert link(text, "answer") == []
