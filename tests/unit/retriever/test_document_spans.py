"""Documents that are worked on together stay in the traces they came in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

sys.path.insert(0, str(Path(__file__).parents[2]))

from span_recording import RecordedSpans, recorded_spans

from services.chassis.steps import current_traceparent, step
from services.retriever.document_spans import DocumentSpans, SharedStep
from services.retriever.domain import Claimed, Version


def handed_in(name: str, retries: int = 0) -> Claimed:
    """A document that a call handed in just now."""
    with step(f"call of {name}"):
        version = Version(f"https://x.example/{name}", "", "", {}, "", 10, "", "g", "blob", current_traceparent())
    return Claimed("corpus", name, version, ("op",), 0, retries, untouched=True)


def traces(spans: RecordedSpans, name: str) -> list[int]:
    return [span.context.trace_id for span in spans.named(name)]


def test_each_document_is_a_child_of_the_call_that_handed_it_in_and_linked_with_its_batch() -> None:
    with recorded_spans() as spans:
        documents = [handed_in("a"), handed_in("b", retries=1)]
        made = DocumentSpans(documents)
        with step("ingest documents", links=made.links()) as batch:
            made.link_to(batch)
            for document, state in zip(documents, ("ACTIVE", "FAILED"), strict=True):
                with made.inside(document), step(f"read {document.id}"):
                    pass
                made.end(document, state, "DOCUMENT_UNREADABLE" if state == "FAILED" else "")
            made.end_all()
    first, second = spans.named("ingest document")
    assert [spans.parent(each) for each in (first, second)] == ["call of a", "call of b"]
    assert [each.kind for each in (first, second)] == [SpanKind.CONSUMER] * 2
    assert spans.parent(spans.one("read b")) == "ingest document"
    assert spans.one("read b").context.trace_id == spans.one("call of b").context.trace_id
    assert [span.status.status_code for span in (first, second)] == [StatusCode.UNSET, StatusCode.ERROR]
    assert (second.attributes or {})["error.type"] == "DOCUMENT_UNREADABLE"
    assert (second.attributes or {})["corella.document.retries"] == 1
    together = spans.one("ingest documents")
    assert [link.context.span_id for link in together.links] == [first.context.span_id, second.context.span_id]
    assert [(link.context.span_id, (link.attributes or {})["corella.link"]) for link in first.links] == [
        (together.context.span_id, "ingest.batch")
    ]


def test_a_document_without_a_kept_trace_begins_one() -> None:
    document = Claimed("corpus", "d", Version("u", "", "", {}, "", 1, "", "g", "b"), (), 0, 0, untouched=False)
    with recorded_spans() as spans, step("something else"):
        DocumentSpans([document]).end(document, "ACTIVE")
    assert spans.one("ingest document").parent is None


def test_work_that_is_broken_off_leaves_no_span_open() -> None:
    with recorded_spans() as spans:
        documents = [handed_in("a"), handed_in("b")]
        made = DocumentSpans(documents)
        made.end(documents[0], "ACTIVE")
        made.end_all()
        made.end_all()
    assert len(spans.named("ingest document")) == 2


def test_a_call_that_serves_several_is_made_under_the_first_and_linked_from_the_others() -> None:
    with recorded_spans() as spans:
        made = DocumentSpans(documents := [handed_in(name) for name in "abc"])
        with SharedStep("embed", [made.context(each) for each in documents], [{"corella.chunks": n} for n in (1, 2, 3)]) as shared:
            for members in ((0, 1), (1, 0, 2), (2,)):
                with shared.serving(*members), step("Embed"):
                    pass
        made.end_all()
    first, second, third = spans.named("embed")
    calls = spans.named("Embed")
    assert [call.parent.span_id for call in calls if call.parent] == [first.context.span_id, first.context.span_id, third.context.span_id]
    assert [len(each.links) for each in (first, second, third)] == [0, 1, 1]
    assert third.links[0].context.span_id == first.context.span_id
    assert [spans.parent(each) for each in (first, second, third)] == ["ingest document"] * 3
    assert [(each.attributes or {})["corella.chunks"] for each in (first, second, third)] == [1, 2, 3]
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_shared_call_that_fails_is_told_on_each_without_its_text() -> None:
    with recorded_spans() as spans, pytest.raises(RuntimeError):
        made = DocumentSpans(documents := [handed_in("a"), handed_in("b")])
        with SharedStep("upsert", [made.context(each) for each in documents], [{}, {}]) as shared, shared.serving(0, 1):
            raise RuntimeError("Zanzibarium")
    assert [span.status.status_code for span in spans.named("upsert")] == [StatusCode.ERROR] * 2
    assert "Zanzibarium" not in spans.everything()
