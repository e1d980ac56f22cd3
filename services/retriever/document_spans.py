"""Spans of documents that are worked on together, each in the trace of the call or the sync that handed it in.

    ingest document     one for each document, kind CONSUMER: what handed it in has long ended        DocumentSpans
      embed, upsert     one for each document, although it is done for all of them at once            SharedStep

A call that serves several documents (texts of all of them in one request of the embedder) is made under the span of the first; the
others' spans have a link to that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from services.chassis.steps import LINK, kept_context, mark_failed
from services.chassis.telemetry import tracer
from services.retriever.domain import Claimed
from services.retriever.names import document_name


class DocumentSpans:
    """The spans of the documents that were claimed together. A retry, or another worker's attempt, has one of its own in the same trace."""

    def __init__(self, claimed: Sequence[Claimed]) -> None:
        self._spans = {document.id: self._begin(document) for document in claimed}
        self._open = set(self._spans)

    @staticmethod
    def _begin(document: Claimed) -> Span:
        return tracer.start_span(
            "ingest document",
            context=kept_context(document.version.traceparent),
            kind=SpanKind.CONSUMER,
            attributes={
                "corella.document": document_name(document.corpus, document.id),
                "corella.document.bytes": document.version.size,
                "corella.operations": document.operations,
                "corella.document.losses": document.losses,
                "corella.document.retries": document.retries,
            },
        )

    def links(self) -> list[trace.Link]:
        """To all of them, for the span of the batch."""
        return [trace.Link(span.get_span_context(), {LINK: "ingest.document"}) for span in self._spans.values()]

    def link_to(self, batch: Span) -> None:
        """Says on each which batch it is worked on in."""
        for span in self._spans.values():
            span.add_link(batch.get_span_context(), {LINK: "ingest.batch"})

    def context(self, document: Claimed) -> Context:
        """What a span of the document's begins in."""
        return trace.set_span_in_context(self._spans[document.id], otel_context.get_current())

    def inside(self, document: Claimed) -> AbstractContextManager[Span]:
        """Makes the document's span the current one."""
        return _current(self._spans[document.id])

    def end(self, document: Claimed, outcome: str, reason: str = "") -> None:
        """The attempt is over. `outcome`: the state it led to; `reason`, if there is one, is why it failed."""
        span = self._spans[document.id]
        span.set_attribute("corella.document.state", outcome)
        if reason:
            span.set_attribute("error.type", reason)
            span.set_status(Status(StatusCode.ERROR, reason))
        if document.id in self._open:
            self._open.remove(document.id)
            span.end()

    def end_all(self) -> None:
        """Ends those that are left: the work was broken off."""
        for document_id in sorted(self._open):
            self._spans[document_id].end()
        self._open.clear()


class SharedStep:
    """The same step of several documents, done together. `contexts` are those of the documents' own spans."""

    def __init__(self, name: str, contexts: Sequence[Context], attributes: Sequence[Mapping[str, int]]) -> None:
        self._spans = [tracer.start_span(name, context, attributes=each) for context, each in zip(contexts, attributes, strict=True)]
        self._linked: set[tuple[int, int]] = set()

    def __enter__(self) -> SharedStep:
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None) -> None:
        for span in self._spans:
            if isinstance(error, Exception):
                mark_failed(span, error)
            span.end()

    @contextmanager
    def serving(self, *members: int) -> Iterator[None]:
        """Around a call that serves the documents at these places."""
        first = min(members)
        for other in set(members) - {first}:
            if (other, first) not in self._linked:
                self._linked.add((other, first))
                self._spans[other].add_link(self._spans[first].get_span_context(), {LINK: "shared call"})
        with _current(self._spans[first]):
            yield


def _current(span: Span) -> AbstractContextManager[Span]:
    # What is raised inside is told on the span by whoever ends it, by its kind only.
    return trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)
