"""What a batcher tells of calls whose traces are sampled or not, and its totals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from span_recording import tracer_of

from services.chassis import steps
from services.chassis.steps import EXPLAINS_SLOWNESS_NS
from services.embedder import batch_metrics
from services.embedder.batch_metrics import BatchMetrics


def told(ratio: float, lasted_ns: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    tracer, ended = tracer_of(ratio)
    monkeypatch.setattr(steps, "tracer", tracer)
    metrics = BatchMetrics("fake", lambda: 0)
    span = tracer.start_span("embeddings")
    metrics.waited(span, 1, 1 + lasted_ns)
    metrics.computed([span], 1, 5, 1, 1 + lasted_ns)
    assert all(each.parent == span.get_span_context() for each in ended)
    return [each.name for each in ended]


def test_an_unsampled_call_has_spans_only_for_what_may_have_made_it_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(0.0, EXPLAINS_SLOWNESS_NS - 1, monkeypatch) == []
    assert told(0.0, EXPLAINS_SLOWNESS_NS, monkeypatch) == ["queue", "compute batch"]


def test_a_sampled_call_has_spans_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(1.0, 1, monkeypatch) == ["queue", "compute batch"]


def test_totals_are_what_is_so_when_they_are_read() -> None:
    waiting = 7
    metrics = BatchMetrics("totals", lambda: waiting)
    metrics.computed([], 3, 12, 1, 2)
    metrics.computed([], 4, 12, 1, 2)
    waiting = 2
    by_model = {"corella.embedder.model": "totals"}
    shown = [[(each.value, each.attributes) for each in read(None)] for read in (batch_metrics._waiting, batch_metrics._texts)]  # type: ignore[arg-type]
    assert (2, by_model) in shown[0]
    assert (7, by_model) in shown[1]


def test_a_model_that_is_gone_is_shown_no_more() -> None:
    metrics = BatchMetrics("gone", lambda: 0)
    del metrics
    assert "gone" not in {each.attributes["corella.embedder.model"] for each in batch_metrics._texts(None)}  # type: ignore[arg-type]
