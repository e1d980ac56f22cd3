"""What spans a piece of code leaves, in this process.

    with recorded_spans() as spans: ...
    one(spans, "cite").attributes

OpenTelemetry lets a process set its provider once, so this joins the one that is there. `tracer_of` is for code that a test can give a
tracer of its own, which records whatever the share of sampled traces is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

from services.chassis.sampling import RecordingSampler


class RecordedSpans:
    """The spans that have ended, in the order of their ends."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> Sequence[ReadableSpan]:
        """All of them."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of a name."""
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The one of a name; fails when there is none or more than one."""
        found = self.named(name)
        assert len(found) == 1, f"{len(found)} spans are called {name!r}; there are {[span.name for span in self.all]}"
        return found[0]

    def parent(self, span: ReadableSpan) -> str:
        """Name of a span's parent; empty for a root. Fails for an orphan."""
        if span.parent is None:
            return ""
        found = [each.name for each in self.all if each.context.span_id == span.parent.span_id]
        assert found, f"{span.name!r} is an orphan"
        return found[0]

    def everything(self) -> str:
        """All that the spans say, as one text to look for words in."""
        return "\n".join(span.to_json() for span in self.all)


@contextmanager
def recorded_spans() -> Iterator[RecordedSpans]:
    """Records what ends inside."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    provider.add_span_processor(processor)
    try:
        yield RecordedSpans(exporter)
    finally:
        # The provider keeps its processors; this one takes no more.
        exporter.shutdown()


class _Ended(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def tracer_of(ratio: float) -> tuple[Tracer, list[ReadableSpan]]:
    """A tracer that samples a share of traces, and the spans that ended, sampled or not."""
    ended = _Ended()
    provider = TracerProvider(sampler=RecordingSampler(ratio), shutdown_on_exit=False)
    provider.add_span_processor(ended)
    return provider.get_tracer("test"), ended.spans
