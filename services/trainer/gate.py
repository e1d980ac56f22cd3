"""Decides whether a candidate may serve: better by a declared margin where it counts, and nowhere worse than tolerated.

docs/training.md says the same for people, and why.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from services.trainer.canary import LEAST_SHIFT
from services.trainer.domain import Example, GateSettings, MetricComparison
from services.trainer.gate_metrics import METRICS, Compared

LEAST_EXAMPLES = 10
"""With fewer, one example is more than a tenth of the result: no interval over them means much."""


@dataclass(frozen=True)
class Tolerance:
    """How much worse a guard may get. `relative`: as a share of what serves; otherwise in the metric's own unit."""

    amount: float
    relative: bool = False


DEFAULT_TOLERANCES = MappingProxyType({
    # One right citation in twenty: fewer and people stop trusting the others.
    "citation_precision": Tolerance(0.05),
    "citation_recall": Tolerance(0.05),
    # A model that learns to answer everything has a better answer_f1; this is what stops it.
    "refusal_f1": Tolerance(0.05),
    # The other form of examples, when both are held out: what is tuned for one must not spoil the other.
    "answer_f1": Tolerance(0.05),
    "text_f1": Tolerance(0.05),
    "style_match": Tolerance(0.05),
    # Token F1 can rise on a few lucky words while the model got worse at what was taught. A tenth is beyond what rounding to bfloat16 and
    # another prompt do.
    "response_loss": Tolerance(0.10, relative=True),
    # An adapter's matrices cost some 10 to 20 %, longer answers may be better ones; twice that and half again is felt.
    "latency_seconds": Tolerance(0.50, relative=True),
})  # fmt: skip
"""Guards by metric. A metric that decides is no guard."""

GROSS = 4
"""A loss of so many tolerances rejects although the interval includes 0: whoever takes that away has to show that it was chance."""


@dataclass(frozen=True)
class Decision:
    """The verdict. `comparisons` have their roles; `broken_guards` and `failed` name what stood against it."""

    accepted: bool
    metric: str
    reasons: tuple[str, ...]
    comparisons: tuple[MetricComparison, ...]
    failed: tuple[Literal["examples", "metric", "canary", "margin", "confidence", "base", "guards"], ...] = ()
    broken_guards: tuple[str, ...] = ()


def default_metric(examples: Sequence[Example]) -> str:
    """`answer_f1` when at least half of the examples are questions, else `text_f1`; `refusal_f1` when no question has an answer.

    Style guards and does not decide by default: phrases can be met by a text that says nothing right.
    """
    questions = [example for example in examples if example.is_question]
    if 2 * len(questions) < len(examples):
        return "text_f1"
    return "answer_f1" if any(example.answerable for example in questions) else "refusal_f1"


def decide(
    compared: Sequence[Compared],
    settings: GateSettings,
    canary_shift: float | None,
    *,
    examples: Sequence[Example],
    unguarded: Collection[str] = (),
) -> Decision:
    """Judges a candidate by its comparisons with what serves on `examples`, the held-out ones that were asked.

    `unguarded` are metrics that compare nothing here: the latency of a model that was not asked in the engine that serves.
    """
    metric = settings.metric or default_metric(examples)
    by_name = {each.comparison.metric: each for each in compared}
    tolerances = {name: tolerance for name, tolerance in _tolerances(settings, metric).items() if name not in unguarded}
    failed: list[Literal["examples", "metric", "canary", "margin", "confidence", "base", "guards"]] = []
    reasons: list[str] = []

    if canary_shift is None:
        failed.append("canary")
        reasons.append("The engine cannot score texts, so nothing proves that the adapter changes what the model computes.")
    elif not canary_shift > LEAST_SHIFT:
        failed.append("canary")
        reasons.append(
            f"The adapter does not change what the model computes: no canary text moved by more than {canary_shift:.1g} nats per token, "
            f"and {LEAST_SHIFT:g} are needed."
        )

    deciding = by_name.get(metric)
    if deciding is None:
        failed.append("metric")
        known = "" if metric in METRICS else f" Known are {', '.join(METRICS)}."
        reasons.append(f"`{metric}` is to decide and could not be measured on the held-out examples.{known}")
    elif deciding.comparison.count < LEAST_EXAMPLES:
        failed.append("examples")
        reasons.append(
            f"Only {deciding.comparison.count} held-out examples tell anything about `{metric}`; at least {LEAST_EXAMPLES} are needed to "
            "tell a better model from a lucky one."
        )
    else:
        for failure, reason in _judge_deciding(deciding, settings):
            if failure is not None:
                failed.append(failure)
            reasons.append(reason)

    broken = tuple(name for name, tolerance in tolerances.items() if name in by_name and _broken(by_name[name], tolerance))
    if broken:
        failed.append("guards")
        reasons += [_guard_sentence(by_name[name], tolerances[name]) for name in broken]
    reasons += [
        f"`{name}` was to guard and could not be measured on the held-out examples."
        for name in settings.tolerances
        if name not in by_name and name != metric
    ]
    if not failed:
        measured = [name for name in tolerances if name in by_name]
        unsure = [name for name in measured if _exceeded(by_name[name], tolerances[name])]
        held = [name for name in measured if name not in unsure]
        if held:
            reasons.append(f"No guard is worse than tolerated ({', '.join(held)}).")
        elif not measured:
            reasons.append("There was no guard to measure.")
        reasons += [_unsure_sentence(by_name[name]) for name in unsure]
    return Decision(
        accepted=not failed,
        metric=metric,
        reasons=tuple(reasons),
        comparisons=tuple(
            replace(
                each.comparison,
                role="decides" if each.comparison.metric == metric else "guards" if each.comparison.metric in tolerances else "reported",
            )
            for each in compared
        ),
        failed=tuple(failed),
        broken_guards=broken,
    )


def _judge_deciding(deciding: Compared, settings: GateSettings) -> list[tuple[Literal["margin", "confidence", "base"] | None, str]]:
    one = deciding.comparison
    low, high = deciding.gain_interval
    figures = (
        f"`{one.metric}` is {one.candidate:.3f}, against {one.serving:.3f} of what serves: an improvement of {deciding.gain:+.3f} "
        f"(95 % interval {low:+.3f} to {high:+.3f}, {one.count} examples)"
    )
    judged: list[tuple[Literal["margin", "confidence", "base"] | None, str]] = []
    if deciding.gain < settings.margin - _ROUNDING:
        judged.append(("margin", f"{figures}; {settings.margin:+.3f} are asked for."))
    elif deciding.probability_better < settings.confidence:
        judged.append((
            "confidence",
            f"{figures}; by the bootstrap it is better at all with probability {deciding.probability_better:.3f}, and "
            f"{settings.confidence:g} is asked for.",
        ))  # fmt: skip
    if deciding.gain_over_base < min(0.0, deciding.gain):
        judged.append(
            ("base", f"The base model alone is better: its `{one.metric}` is {one.base:.3f}. Rolling back gains more than promoting.")
        )
    return judged or [(None, f"{figures}, with probability {deciding.probability_better:.3f} by the bootstrap.")]


_ROUNDING = 1e-9


def _tolerances(settings: GateSettings, metric: str) -> dict[str, Tolerance]:
    """The defaults, with what the caller says; a metric the caller names becomes a guard."""
    chosen = dict(DEFAULT_TOLERANCES)
    for name, amount in settings.tolerances.items():
        chosen[name] = Tolerance(amount, chosen[name].relative if name in chosen else False)
    chosen.pop(metric, None)
    return chosen


def _allowed(guard: Compared, tolerance: Tolerance) -> float:
    return tolerance.amount * abs(guard.comparison.serving) if tolerance.relative else tolerance.amount


def _broken(guard: Compared, tolerance: Tolerance) -> bool:
    """Worse than tolerated, and not by chance: a guard on a few examples would otherwise reject good candidates at random."""
    if not _exceeded(guard, tolerance):
        return False
    return guard.gain_interval[1] < 0 or -guard.gain > GROSS * _allowed(guard, tolerance) + _ROUNDING


def _exceeded(guard: Compared, tolerance: Tolerance) -> bool:
    """Worse than tolerated, be it by chance."""
    return -guard.gain > _allowed(guard, tolerance) + _ROUNDING


def _unsure_sentence(guard: Compared) -> str:
    one = guard.comparison
    return (
        f"`{one.metric}` is {one.candidate:.3f}, against {one.serving:.3f} of what serves, which is more than tolerated; its 95 % interval "
        f"({one.difference_low:+.3f} to {one.difference_high:+.3f}, {one.count} examples) does not tell it from chance. "
        "Hold more examples back to know."
    )


def _guard_sentence(guard: Compared, tolerance: Tolerance) -> str:
    one = guard.comparison
    low, high = one.difference_low, one.difference_high
    amount = f"{tolerance.amount:.0%} of it" if tolerance.relative else f"{tolerance.amount:g}"
    return (
        f"`{one.metric}` got worse: {one.candidate:.3f}, against {one.serving:.3f} of what serves (difference "
        f"{one.candidate - one.serving:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}, {one.count} examples); "
        f"at most {amount} is tolerated."
    )
