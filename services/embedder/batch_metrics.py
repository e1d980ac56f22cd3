"""What one batcher tells of its queue and its batches, in metrics and in the traces of the calls that wait for it.

A batch of queries takes 10 ms, and spans and measurements are made in the one thread that also serves. So totals are plain numbers that
are read when metrics are collected, and waits and batches are details as `chassis/steps.py` has them, told when they are over.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping

from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Span

from services.chassis.steps import tell
from services.chassis.telemetry import meter

_batch_tokens = meter.create_histogram(
    "corella.embedder.batch.tokens",
    unit="{token}",
    description="Tokens of each batch computed.",
    explicit_bucket_boundaries_advisory=[16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768],
)
_batch_seconds = meter.create_histogram(
    "corella.embedder.batch.duration",
    unit="s",
    description="Time each batch took to compute.",
    explicit_bucket_boundaries_advisory=[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
)
_queue_seconds = meter.create_histogram(
    "corella.embedder.queue.duration",
    unit="s",
    description="Time a call waited before the first of its texts was computed.",
    explicit_bucket_boundaries_advisory=[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
)


class BatchMetrics:
    """Of the model called `model`. `waiting_tokens` says how many tokens wait now, and may be asked from any thread."""

    def __init__(self, model: str, waiting_tokens: Callable[[], int]) -> None:
        self._attributes = {"corella.embedder.model": model}
        self._waiting_tokens = waiting_tokens
        self._texts = 0
        _all.add(self)

    def waited(self, span: Span, put_ns: int, begun_ns: int) -> None:
        """A call, whose current span was `span`, waited from `put_ns` to `begun_ns` (nanoseconds since the epoch)."""
        _queue_seconds.record((begun_ns - put_ns) / 1e9, self._attributes, trace.set_span_in_context(span))
        tell("queue", span, put_ns, begun_ns)

    def computed(self, spans: Iterable[Span], texts: int, tokens: int, begun_ns: int, ended_ns: int) -> None:
        """A batch of so many texts and tokens was computed, for the calls with these spans."""
        seconds = (ended_ns - begun_ns) / 1e9
        _batch_tokens.record(tokens, self._attributes)
        _batch_seconds.record(seconds, self._attributes)
        self._texts += texts
        attributes: Mapping[str, str | int] = {
            **self._attributes,
            "corella.embedder.batch.texts": texts,
            "corella.embedder.batch.tokens": tokens,
        }
        for span in spans:
            tell("compute batch", span, begun_ns, ended_ns, attributes)

    def waiting(self) -> Observation:
        """Tokens that wait now."""
        return Observation(self._waiting_tokens(), self._attributes)

    def texts(self) -> Observation:
        """Texts computed so far."""
        return Observation(self._texts, self._attributes)


_all: weakref.WeakSet[BatchMetrics] = weakref.WeakSet()


def _waiting(_: CallbackOptions) -> list[Observation]:
    return [each.waiting() for each in _all]


def _texts(_: CallbackOptions) -> list[Observation]:
    return [each.texts() for each in _all]


meter.create_observable_up_down_counter("corella.embedder.queue.tokens", [_waiting], "{token}", "Tokens waiting to be computed.")
meter.create_observable_counter("corella.embedder.texts", [_texts], "{text}", "Texts computed.")
