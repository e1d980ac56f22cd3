"""What is counted of answers: how they ended, how long they took, and what became of their citations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from services.chassis import deadline
from services.chassis.errors import DeadlineExceeded
from services.chassis.steps import CALLERS_FAULT
from services.chassis.telemetry import SECONDS, meter
from services.generator.citing import CitedAnswer
from services.generator.domain import BASE, Adapter

_answers = meter.create_counter("corella.generator.answers", unit="{answer}", description="Answers, by how they ended.")
_refusals = meter.create_counter("corella.generator.refusals", unit="{answer}", description="Answers that are none, by reason.")
_citations = meter.create_counter(
    "corella.generator.citations", unit="{citation}", description="Citations, kept or, where nothing supports them, dropped."
)
_unsupported = meter.create_counter("corella.generator.sentences.dropped", unit="{sentence}", description="Sentences nothing supports.")
_duration = meter.create_histogram(
    "corella.generator.answer.duration",
    unit="s",
    description="Time from a question to the end of its answer, without the summary made after it.",
    explicit_bucket_boundaries_advisory=SECONDS,
)
_retrieval = meter.create_histogram(
    "corella.generator.retrieval.duration", unit="s", description="Time to find passages.", explicit_bucket_boundaries_advisory=SECONDS
)
_OVER_SECONDS = 0.1
"""A call that is cut off with less than this left was cut off by its deadline."""


class AnswerWatch:
    """One answer being made. What is not said of it counts as the base model's."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._over = False
        self.adapter = BASE

    def retrieved(self, seconds: float) -> None:
        """Passages were looked for."""
        _retrieval.record(seconds)

    def answered(self, cited: CitedAnswer, adapter: Adapter) -> None:
        """The answer is whole."""
        self.adapter = adapter
        if cited.refusal_reason is not None:
            _refusals.add(1, {"reason": cited.refusal_reason.value})
        _citations.add(len(cited.citations), {"result": "kept"})
        _citations.add(cited.dropped_citation_count, {"result": "dropped"})
        _unsupported.add(cited.dropped_sentence_count)
        self.end("answered" if cited.refusal_reason is None else "refused")

    def end(self, outcome: str) -> None:
        """Counts it, once."""
        if not self._over:
            self._over = True
            outcome_attribute = {"corella.answer.outcome": outcome}
            _answers.add(1, {**outcome_attribute, "corella.adapter.serving": "base" if self.adapter == BASE else "adapter"})
            _duration.record(time.perf_counter() - self._began, outcome_attribute)


@contextmanager
def watching() -> Iterator[AnswerWatch]:
    """Around one answer. An error makes it `failed`, an asker who left `cancelled`; what is the caller's fault does not count."""
    watch = AnswerWatch()
    try:
        yield watch
    except CALLERS_FAULT:
        raise
    except Exception:
        watch.end("failed")
        raise
    except BaseException:
        watch.end("failed" if _deadline_passed() else "cancelled")
        raise


def _deadline_passed() -> bool:
    try:
        return deadline.remaining(1.0) < _OVER_SECONDS
    except DeadlineExceeded:
        return True
