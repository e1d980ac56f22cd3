"""Which traces leave the process: a share of all, by trace id, and besides these every one with an error or a slow span.

`RecordingSampler` decides at the head, alike in every process, and lets spans of unsampled traces be recorded all the same. `TraceKeeper`
holds those back by *part*: a local root, which is a span whose parent is absent, in another process, or forgotten, with the spans below it.

    a span of the part fails, or takes `slow_seconds`       the part is kept: what is held is exported, what follows too
    its root is still open after `slow_seconds`             likewise: it can only get slower
    a callee says that it kept its part                     likewise, so that the callee's spans have their parents
    its last span has ended and nothing of this happened    it is forgotten, after a moment in which late ones may begin

A callee's failure is an error of its caller's span, and a call takes its caller longer than the callee, so with the same `slow_seconds`
everywhere a caller keeps what its callees keep. Failures that a callee gets over by itself are told in trailing metadata
(interceptor.py, channel.py). Nobody waits for a part that a message, a record or a late task began: its root, a span of kind CONSUMER
or with a parent that is forgotten, is exported as a root, with a link to its cause.

What this cannot do: a callee that was quick and faultless has forgotten its part when its caller turns out slow, and so has a caller that
went on alone. Such a trace is kept in parts. Whoever needs it whole exports everything (`sample_ratio` 1) to a collector with the
tail sampling processor. When gRPC by itself repeats a call that failed in a server, the first try is kept without its caller. A part of
more spans than `MAX_PART_SPANS`, or in a process that holds more than `MAX_SPANS`, loses those that ended first, which are the leaves; its
root then says how many in `corella.trace.dropped_spans`.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import ExemplarFilter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags

MAX_PART_SPANS = 512
"""Most spans held of one part. An answer has about 30, a document of 500 chunks about 60."""
MAX_SPANS = 8_192
"""Most spans held by the process: about 28 MiB, at 3.5 KiB each."""
MAX_PARTS = 4_096
"""Most parts remembered after their last span, kept or not."""
MAX_SPAN_IDS = 65_536
"""Most spans whose part is known. Beyond it, which takes spans that never end, the oldest part is forgotten."""
LATE_SECONDS = 0.5
"""How long a part is remembered after its last span: late tasks begin theirs within milliseconds.

Not longer, because what is held for seconds has left the processor's caches when it is let go: 5 s instead of 0.5 s cost an embedder under
load 2.4 % of its throughput.
"""

KEPT = "corella.trace.kept"
"""Attribute of spans that the ratio alone would not have exported: `error`, `slow` or `callee`. Rates made from spans leave them out."""
DROPPED = "corella.trace.dropped_spans"


class RecordingSampler(Sampler):
    """Samples `ratio` of traces by their id, as the parent did where there is one, and records the rest.

    The SDK's `AlwaysRecordSampler` around `ParentBasedTraceIdRatio` would do the same but loses the attributes that a span begins with.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._bound = TraceIdRatioBased.get_bound_for_rate(ratio)

    def should_sample(  # noqa: PLR0917 the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        """What the SDK asks for each span that begins."""
        parent = trace.get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            sampled, state = parent.trace_flags.sampled, parent.trace_state
        else:
            sampled, state = trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._bound, None
        return SamplingResult(Decision.RECORD_AND_SAMPLE if sampled else Decision.RECORD_ONLY, attributes, state)

    def get_description(self) -> str:
        """As the SDK prints it."""
        return f"RecordingSampler{{{self._ratio}}}"


@dataclass(eq=False, slots=True)
class _Part:
    """A local root and the spans below it."""

    root: int
    """Span id of the local root."""
    started_ns: int
    root_open: bool = True
    open: int = 0
    kept: str = ""
    held: deque[ReadableSpan] = field(default_factory=deque)
    ended: deque[int] = field(default_factory=deque)
    """Span ids by which late children find their part."""
    dropped: int = 0


class TraceKeeper(SpanProcessor):
    """Passes sampled spans on at once, others when their part is kept, then as sampled ones. `exporting` is the processor that exports."""

    def __init__(self, exporting: SpanProcessor, slow_seconds: float) -> None:
        self._exporting = exporting
        self._slow_ns = int(slow_seconds * 1e9)
        self._forget_everything()
        if hasattr(os, "register_at_fork"):
            here = weakref.WeakMethod(self._forget_everything)
            # A forked child has neither the spans nor, maybe, the lock of its parent.
            os.register_at_fork(after_in_child=lambda: (method := here()) and method())

    def _forget_everything(self) -> None:
        self._lock = threading.Lock()
        self._parts: dict[int, _Part] = {}
        self._over: OrderedDict[_Part, float] = OrderedDict()
        self._held = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Finds the part that the span belongs to, or begins one."""
        context, parent = span.get_span_context(), span.parent
        if context.trace_flags.sampled:
            return
        with self._lock:
            part = self._parts.get(parent.span_id) if parent is not None and not parent.is_remote else None
            if part is None:
                part = _Part(context.span_id, span.start_time or 0)
            else:
                self._over.pop(part, None)
            part.open += 1
            self._parts[context.span_id] = part
            while len(self._parts) > MAX_SPAN_IDS:
                self._drop(self._parts.pop(next(iter(self._parts))))

    def on_end(self, span: ReadableSpan) -> None:
        """Exports the span, holds it back, or finds that its part is to be kept."""
        context = span.context
        if context.trace_flags.sampled:
            self._exporting.on_end(span)
            return
        with self._lock:
            part = self._parts.get(context.span_id)
            if part is None:  # begun before a fork
                return
            part.open -= 1
            part.kept = part.kept or self._reason(span, part, span.end_time or 0)
            if context.span_id == part.root:
                part.root_open = False
            part.held.append(span)
            part.ended.append(context.span_id)
            self._held += 1
            due = self._take(part) if part.kept else []
            self._bound(part)
        self._export(due, part)

    def keep(self, context: SpanContext, reason: str) -> None:
        """Keeps the part of a span: what is held of it, and what follows."""
        with self._lock:
            part = self._parts.get(context.span_id)
            if part is None or part.kept:
                return
            part.kept = reason
            due = self._take(part)
        self._export(due, part)

    def keeps(self, span: trace.Span) -> bool:
        """Whether a span that has not ended will be exported, as far as is known now."""
        context = span.get_span_context()
        if context.trace_flags.sampled:
            return True
        part = self._parts.get(context.span_id)
        if part is None:
            return False
        return bool(part.kept or (isinstance(span, ReadableSpan) and self._reason(span, part, time.time_ns())))

    def shutdown(self) -> None:
        """Exports what is due. Parts that are not over are forgotten."""
        self._exporting.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Exports what is due."""
        return self._exporting.force_flush(timeout_millis)

    def _reason(self, span: ReadableSpan, part: _Part, now_ns: int) -> str:
        if span.status.status_code is StatusCode.ERROR:
            return "error"
        began_ns = part.started_ns if part.root_open else span.start_time or 0
        return "slow" if now_ns - began_ns >= self._slow_ns else ""

    def _take(self, part: _Part) -> list[ReadableSpan]:
        due = list(part.held)
        part.held.clear()
        self._held -= len(due)
        return due

    def _bound(self, part: _Part) -> None:
        if len(part.ended) > MAX_PART_SPANS:
            self._parts.pop(part.ended.popleft(), None)
        if part.open == 0:
            self._over[part] = time.monotonic() + LATE_SECONDS
        if part.open == 0 or self._held > MAX_SPANS:
            self._forget_oldest()
        if len(part.held) > MAX_PART_SPANS or (part.held and self._held > MAX_SPANS):
            # Children end before their parents, so what ended first leaves no orphan.
            part.held.popleft()
            part.dropped += 1
            self._held -= 1

    def _forget_oldest(self) -> None:
        now = time.monotonic()
        while self._over:
            oldest, until = next(iter(self._over.items()))
            if len(self._over) <= MAX_PARTS and self._held <= MAX_SPANS and until > now:
                break
            self._forget(oldest)

    def _forget(self, part: _Part) -> None:
        del self._over[part]
        for span_id in part.ended:
            self._parts.pop(span_id, None)
        self._drop(part)

    def _drop(self, part: _Part) -> None:
        part.dropped += len(part.held)
        self._held -= len(part.held)
        part.held.clear()

    def _export(self, due: Sequence[ReadableSpan], part: _Part) -> None:
        for span in due:
            self._exporting.on_end(_as_sampled(span, part))


def _as_sampled(span: ReadableSpan, part: _Part) -> ReadableSpan:
    """The span as one that was sampled, which is what exporting processors take."""
    context, parent, links = span.context, span.parent, span.links
    attributes: dict[str, Any] = {**(span.attributes or {}), KEPT: part.kept}
    if context.span_id == part.root:
        if part.dropped:
            attributes[DROPPED] = part.dropped
        if parent is not None and (span.kind is SpanKind.CONSUMER or not parent.is_remote):
            links = (*links, Link(parent))
            parent = None
    return ReadableSpan(
        name=span.name,
        context=SpanContext(
            context.trace_id, context.span_id, context.is_remote, TraceFlags(context.trace_flags | TraceFlags.SAMPLED), context.trace_state
        ),
        parent=parent,
        resource=span.resource,
        attributes=attributes,
        events=span.events,
        links=links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


class KeptExemplars(ExemplarFilter):
    """Lets a measurement be an exemplar when the trace it was made in is kept, as far as is known at that moment."""

    def __init__(self, kept: Callable[[trace.Span], bool]) -> None:
        self._kept = kept

    def should_sample(self, value: float, time_unix_nano: int, attributes: Any, context: Context | None) -> bool:
        """What the SDK asks for each measurement."""
        span = trace.get_current_span(context if context is not None else otel_context.get_current())
        return span is not trace.INVALID_SPAN and self._kept(span)
