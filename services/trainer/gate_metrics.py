"""From answers to metrics: what is measured, on which examples, and how each is put together from its parts.

questions   answer_f1, exact_match, contains_gold    of those with an answer in the passages; a refusal scores 0
            citation_precision, citation_recall      of those with an answer
            refusal_precision, _recall, _f1          when there are questions without an answer
prompts     text_f1, text_bleu
both        style_match, response_loss, latency_seconds, completion_tokens
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from corella.evaluation.answer_metrics import contains_gold
from services.trainer.asked import Asked, gold_answers
from services.trainer.bootstrap import RESAMPLES, Floats, Measure, Median, Ratio, compare
from services.trainer.domain import Example, MetricComparison
from services.trainer.sacrebleu_measure import corpus_bleu

Pair = tuple[Example, Asked]


@dataclass(frozen=True)
class Compared:
    """A comparison, and the share of the bootstrap's draws in which the candidate was strictly better or worse than what serves."""

    comparison: MetricComparison
    probability_better: float
    probability_worse: float

    @property
    def gain(self) -> float:
        """How much better the candidate is than what serves; negative: worse."""
        return self._signed(self.comparison.candidate - self.comparison.serving)

    @property
    def gain_over_base(self) -> float:
        """How much better than the base model."""
        return self._signed(self.comparison.candidate - self.comparison.base)

    @property
    def gain_interval(self) -> tuple[float, float]:
        """The 95 % interval of `gain`."""
        low, high = self.comparison.difference_low, self.comparison.difference_high
        return (-high, -low) if self.comparison.lower_is_better else (low, high)

    def _signed(self, difference: float) -> float:
        return -difference if self.comparison.lower_is_better else difference


@dataclass(frozen=True)
class Metric:
    """How a metric is made."""

    about: str
    """For people: what the figure is."""
    applies: Callable[[Pair], bool]
    """Whether an example and its answer count."""
    parts: Callable[[Pair], tuple[float, float]] | None = None
    """(numerator, denominator) of a ratio of sums. None: see `measure`."""
    lower_is_better: bool = False
    unit: str = ""


def _answerable(pair: Pair) -> bool:
    return pair[0].is_question and pair[0].answerable


def _question(pair: Pair) -> bool:
    return pair[0].is_question


def _prompt(pair: Pair) -> bool:
    return not pair[0].is_question


def _refusal_f1(pair: Pair) -> tuple[float, float]:
    """2·TP over 2·TP + FP + FN."""
    refused, should = pair[1].refused, not pair[0].answerable
    return 2.0 * (refused and should), float(refused) + float(should)


METRICS: Mapping[str, Metric] = MappingProxyType({
    "answer_f1": Metric("words shared with the gold answer (token F1); a refusal scores 0", _answerable, lambda p: (p[1].f1, 1.0)),
    "exact_match": Metric("answers that are the gold answer word for word", _answerable, lambda p: (float(p[1].exact), 1.0)),
    "contains_gold": Metric(
        "answers in which the gold answer stands in one piece",
        _answerable,
        lambda p: (float(not p[1].refused and contains_gold(p[1].text, gold_answers(p[0]))), 1.0),
    ),
    "citation_precision": Metric(
        "citations that point to a gold source", _answerable, lambda p: (float(p[1].citations_right), float(p[1].citations_total))
    ),
    "citation_recall": Metric(
        "questions answered with at least one right citation", _answerable, lambda p: (float(p[1].citations_right > 0), 1.0)
    ),
    "refusal_precision": Metric(
        "refusals that were right", _question, lambda p: (float(p[1].refused and not p[0].answerable), float(p[1].refused))
    ),
    "refusal_recall": Metric(
        "questions without an answer that were refused",
        _question,
        lambda p: (float(p[1].refused and not p[0].answerable), float(not p[0].answerable)),
    ),
    "refusal_f1": Metric("precision and recall of refusals in one figure", _question, _refusal_f1),
    "text_f1": Metric("words shared with the gold text (token F1)", _prompt, lambda p: (p[1].f1, 1.0)),
    "text_bleu": Metric("BLEU of the texts against all gold texts", _prompt),
    "style_match": Metric(
        "demands of the style check that are met", lambda p: p[1].style is not None and not p[1].refused,
        lambda p: (p[1].style or 0.0, 1.0),
    ),
    "response_loss": Metric(
        "loss of the gold response, nats per token", lambda p: p[1].log_likelihood is not None and p[1].response_tokens > 0,
        lambda p: (-(p[1].log_likelihood or 0.0), float(p[1].response_tokens)), lower_is_better=True, unit="nats",
    ),
    "latency_seconds": Metric("median time to the whole answer", lambda p: True, lower_is_better=True, unit="s"),
    "completion_tokens": Metric("mean tokens written", lambda p: True, lambda p: (float(p[1].completion_tokens), 1.0), True, "tokens"),
})  # fmt: skip
"""By name, in the order they are told."""

_NEEDS_UNANSWERABLE = {"refusal_precision", "refusal_recall", "refusal_f1"}


def measure(name: str, pairs: Sequence[Pair]) -> Measure:
    """The metric over these examples, ready to be resampled. A ratio with nothing below it (no citation at all) is 0."""
    if name == "text_bleu":
        return corpus_bleu([asked.text for _, asked in pairs], [gold_answers(example) for example, _ in pairs])
    if name == "latency_seconds":
        return Median(np.array([asked.seconds for _, asked in pairs]))
    parts = METRICS[name].parts
    assert parts is not None
    values: Floats = np.array([parts(pair) for pair in pairs], dtype=np.float64)
    return Ratio(values[:, 0], values[:, 1])


def compare_versions(examples: Sequence[Example], asked: Sequence[Asked], *, resamples: int = RESAMPLES) -> tuple[Compared, ...]:
    """Every metric that can be measured, of base, serving and candidate, on the examples that all of them answered.

    Without answers labelled `serving` the base model serves.
    """
    by_version: dict[str, dict[str, Asked]] = {}
    for each in asked:
        if each.way == "served":
            by_version.setdefault(each.version, {})[each.example_id] = each
    base, candidate = by_version.get("base", {}), by_version.get("candidate", {})
    serving = by_version.get("serving", base)
    common = [example for example in examples if all(example.id in answers for answers in (base, serving, candidate))]
    results = []
    for name, metric in METRICS.items():
        # An example counts when it counts for all three: the comparison stays paired.
        counted = [
            example for example in common if all(metric.applies((example, answers[example.id])) for answers in (base, serving, candidate))
        ]
        if not counted or (name in _NEEDS_UNANSWERABLE and all(example.answerable for example in counted)):
            continue
        of_base, of_serving, of_candidate = (
            measure(name, [(example, answers[example.id]) for example in counted]) for answers in (base, serving, candidate)
        )
        if name == "citation_precision" and not any(
            answers[example.id].citations_total for example in counted for answers in (base, serving, candidate)
        ):
            continue
        difference = compare(of_serving, of_candidate, len(counted), resamples=resamples)
        higher, lower = difference.probability_higher, difference.probability_lower
        results.append(
            Compared(
                MetricComparison(
                    metric=name,
                    base=float(of_base.of(np.ones((1, len(counted))))[0]),
                    serving=difference.first,
                    candidate=difference.second,
                    difference_low=difference.low,
                    difference_high=difference.high,
                    count=len(counted),
                    lower_is_better=metric.lower_is_better,
                ),
                probability_better=lower if metric.lower_is_better else higher,
                probability_worse=higher if metric.lower_is_better else lower,
            )
        )
    return tuple(results)
