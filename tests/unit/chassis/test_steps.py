"""Spans that tell of an error no more than its kind, and links."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

sys.path.insert(0, str(Path(__file__).parents[2]))

from span_recording import recorded_spans, tracer_of

from services.chassis import steps
from services.chassis.errors import NotFound, Unavailable
from services.chassis.steps import add_link, current_traceparent, detail, link, step

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


class Missing(Exception):
    """Expected."""


def details(ratio: float, monkeypatch: pytest.MonkeyPatch, times_ns: Sequence[int], error: Exception | None = None) -> list[ReadableSpan]:
    """What a detail with another step inside it leaves in a trace, when the clock shows these times."""
    tracer, ended = tracer_of(ratio)
    monkeypatch.setattr(steps, "tracer", tracer)
    if ratio == 0:
        monkeypatch.setattr(steps, "time", SimpleNamespace(time_ns=iter(times_ns).__next__))
    look = detail("look", {"corella.passages": 3}, kind=SpanKind.CLIENT, expected=(Missing,))
    with tracer.start_as_current_span("call"), suppress(Exception), look as told:
        told.set_attribute("corella.chunks", 1)
        told.set_attributes({"corella.chunks": 4})
        if error is not None:
            raise error
    monkeypatch.undo()
    return [span for span in ended if span.name == "look"]


SLOW = (10, 10 + steps.EXPLAINS_SLOWNESS_NS)
QUICK = (10, 9 + steps.EXPLAINS_SLOWNESS_NS)


@pytest.mark.parametrize(
    ("ratio", "times_ns", "error", "status"),
    [
        (1.0, QUICK, None, StatusCode.UNSET),
        (1.0, QUICK, Missing(), StatusCode.UNSET),
        (1.0, QUICK, ValueError("a question's text"), StatusCode.ERROR),
        (0.0, SLOW, None, StatusCode.UNSET),
        (0.0, SLOW, Missing(), StatusCode.UNSET),
        (0.0, QUICK, ValueError("a question's text"), StatusCode.ERROR),
        (0.0, QUICK, NotFound("a question's text"), StatusCode.UNSET),
    ],
)
def test_a_detail_that_is_told_is_a_step(
    ratio: float, times_ns: Sequence[int], error: Exception | None, status: StatusCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    [span] = details(ratio, monkeypatch, times_ns, error)
    kind = {} if error is None or isinstance(error, Missing) else {"error.type": type(error).__name__}
    assert dict(span.attributes or {}) == {"corella.passages": 3, "corella.chunks": 4, **kind}
    assert (span.kind, span.status.status_code, span.parent is not None) == (SpanKind.CLIENT, status, True)
    if ratio == 0:
        assert (span.start_time, span.end_time) == times_ns


@pytest.mark.parametrize("error", [None, Missing()])
def test_a_quick_detail_of_an_unsampled_trace_leaves_nothing(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert details(0.0, monkeypatch, QUICK, error) == []


def test_what_begins_in_a_detail_without_a_span_is_a_child_of_what_is_around(monkeypatch: pytest.MonkeyPatch) -> None:
    tracer, ended = tracer_of(0.0)
    monkeypatch.setattr(steps, "tracer", tracer)
    with tracer.start_as_current_span("call") as call, detail("look", {}), step("inner"):
        pass
    assert [(span.name, span.parent) for span in ended] == [("inner", call.get_span_context()), ("call", None)]
