"""The parts of a report that compare figures: all held-out examples, corner cases alone, a repair before and after."""

from __future__ import annotations

from collections.abc import Sequence

from services.trainer.domain import MetricComparison
from services.trainer.gate_metrics import METRICS
from services.trainer.markdown import bullets, plain, table
from services.trainer.report_input import ReportInput


def metrics(given: ReportInput, pictured: bool) -> str:
    """All metrics of base, serving and candidate, with their intervals and roles."""
    if given.decision is None or not given.decision.comparisons:
        return ""
    text = f"## Base, serving and candidate\n\n{_comparison_table(given.decision.comparisons)}"
    text += (
        "\n\nOn the same held-out examples, through the serving path. The interval is of candidate less serving: 95 %, paired bootstrap."
    )
    if pictured:
        text += "\n\n![Metrics of base, serving and candidate](metrics.png)"
    names = [one.metric for one in given.decision.comparisons]
    text += "\n\n" + bullets([f"`{name}`: {METRICS[name].about}" for name in names if name in METRICS])
    if given.skipped:
        text += f"\n\n{len(given.skipped)} examples could not be asked and count for none: "
        text += "; ".join(f"{plain(example_id, 40)}: {plain(why, 120)}" for example_id, why in given.skipped[:3]) + "."
    return text


def _comparison_table(comparisons: Sequence[MetricComparison], heads: tuple[str, str, str] = ("base", "serving", "candidate")) -> str:
    rows = []
    for one in comparisons:
        name = f"**{one.metric}**" if one.role == "decides" else one.metric
        digits = 1 if one.metric == "completion_tokens" else 3
        change = one.candidate - one.serving
        rows.append([
            name.replace("_", "\\_") + (" ↓" if one.lower_is_better else ""),
            *(f"{value:.{digits}f}" for value in (one.base, one.serving, one.candidate)),
            f"{change:+.{digits}f}", f"{one.difference_low:+.{digits}f} to {one.difference_high:+.{digits}f}", str(one.count), one.role,
        ])  # fmt: skip
    return table(["metric (↓ less is better)", *heads, "change", "95 % interval", "examples", "role"], rows)


def corner_cases(given: ReportInput) -> str:
    """The metrics on the corner cases."""
    if not given.corner_comparisons:
        return ""
    few = " They are few: read the intervals, not the means." if max(one.count for one in given.corner_comparisons) < 10 else ""
    return f"## Corner cases alone\n\n{_comparison_table(given.corner_comparisons)}\n\nReported, not judged.{few}"


def repair(given: ReportInput) -> str:
    """What compression cost and tuning brought back."""
    outcome = given.outcome
    if outcome.original_validation_loss is None:
        return ""
    whole, damaged, repaired = outcome.original_validation_loss, outcome.initial_validation_loss, outcome.final_validation_loss
    rows = [["response loss on validation examples, nats ↓", f"{whole:.3f}", f"{damaged:.3f}", f"{repaired:.3f}"]]
    text = f"## Repair: before and after\n\n{plain(given.compression).capitalize() or 'The base model was compressed'}; then tuned.\n\n"
    text += table(["", "base model", "compressed", "repaired"], rows)
    damage = damaged - whole
    if damage > 0:
        back = (damaged - repaired) / damage
        text += f"\n\nOf the {damage:.3f} nats that compression cost, tuning brought back {damaged - repaired:.3f} ({back:.0%})."
        if back > 1:
            text += " More than all: tuning also taught it the examples."
    if given.repair_comparisons:
        text += f"\n\n{_comparison_table(given.repair_comparisons, ('base model', 'compressed', 'repaired'))}"
    return text
