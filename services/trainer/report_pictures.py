"""Draws the pictures of a report as PNG. The only file that imports matplotlib, which is loaded when the first one is drawn.

Colours are those of Okabe and Ito, told apart by most colour-blind people. Functions are blocking and safe to call from any one thread at a
time: they use no global figure.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from services.trainer.costing import NAMES, CostReport
from services.trainer.curves import smoothed, validation_curve
from services.trainer.domain import MetricComparison, Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
_DPI = 130
_SHARES = (
    "answer_f1", "exact_match", "contains_gold", "citation_precision", "citation_recall", "refusal_precision", "refusal_recall",
    "refusal_f1", "text_f1", "text_bleu", "style_match",
)  # fmt: skip
"""Metrics of 0…1: they share one axis."""


def loss_picture(steps: Sequence[Step], initial_validation_loss: float, *, title: str = "Loss of the responses") -> bytes:
    """Training loss (as it was and smoothed) and validation loss over the steps; below, the learning rate."""
    figure = _figure(8.0, 5.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    numbers = [step.step for step in steps]
    losses = [step.training_loss if math.isfinite(step.training_loss) else math.nan for step in steps]
    upper.plot(numbers, losses, color=BLUE, alpha=0.25, linewidth=1)
    # A half-life of a fortieth of the run: enough to see the course, not so much that it lags.
    upper.plot(numbers, smoothed(losses, max(1.0, len(losses) / 40)), color=BLUE, linewidth=1.8, label="training (smoothed)")
    curve = validation_curve(steps, initial_validation_loss)
    finite = [(step, loss) for step, loss in curve if math.isfinite(loss)]
    label = "validation"
    if finite:
        at, lowest = min(finite, key=lambda each: each[1])
        label += f", lowest {lowest:.3f} {f'at step {at}' if at else 'before the first step'}"
        upper.axhline(lowest, color=RED, linewidth=0.8, linestyle=":", alpha=0.7)
    upper.plot([step for step, _ in curve], [loss for _, loss in curve], color=RED, marker="o", markersize=4, label=label, clip_on=False)
    upper.set_ylabel("nats per token")
    upper.set_title(title, loc="left")
    upper.margins(y=0.12)
    upper.legend(frameon=False)
    lower.plot(numbers, [step.learning_rate for step in steps], color=GREY)
    lower.set(xlabel="optimiser step", ylabel="learning rate", ylim=(0, None), xlim=(0, max(numbers, default=1)))
    lower.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    return _png(figure, upper, lower)


def metric_picture(comparisons: Sequence[MetricComparison]) -> bytes | None:
    """Base, serving and candidate for every metric of 0…1, and beside them the change with its interval. None: there is no such metric."""
    shown = [one for one in comparisons if one.metric in _SHARES]
    if not shown:
        return None
    figure = _figure(10.0, 1.9 + 0.65 * len(shown))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = list(range(len(shown)))
    bars = [("base", "base", GREY, -0.27), ("serving", "serving", ORANGE, 0.0), ("candidate", "candidate", BLUE, 0.27)]
    if all(one.base == one.serving for one in shown):
        bars = [("base", "base model, which serves", GREY, -0.15), ("candidate", "candidate", BLUE, 0.15)]
    for name, label, colour, offset in bars:
        values = [getattr(one, name) for one in shown]
        left.barh([row + offset for row in rows], values, height=0.25, color=colour, label=label)
        for row, value in zip(rows, values, strict=True):
            left.text(value + 0.01, row + offset, f"{value:.2f}", va="center", fontsize=7, color="#333333")
    role = {"decides": " (decides)", "guards": " (guards)", "reported": ""}
    left.set_yticks(rows, [f"{one.metric}{role[one.role]}\n{one.count} examples" for one in shown], fontsize=8)
    left.set(xlim=(0, 1.12), title="Share, 0…1", ylim=(len(shown) - 0.45, -0.55))
    figure.legend(frameon=False, loc="outside lower left", ncols=3)
    for row, one in zip(rows, shown, strict=True):
        change = one.candidate - one.serving
        colour = GREEN if one.difference_low > 0 else RED if one.difference_high < 0 else GREY
        # A change can lie just outside percentiles of few draws; an error bar cannot point inwards.
        low, high = max(change - one.difference_low, 0.0), max(one.difference_high - change, 0.0)
        right.errorbar(change, row, xerr=[[low], [high]], fmt="o", color=colour, capsize=4, markersize=6)
    right.axvline(0, color="black", linewidth=0.8)
    right.set_title("Candidate less serving, 95 % interval")
    right.margins(x=0.15)
    right.locator_params(axis="x", nbins=5)
    right.tick_params(axis="y", left=False)
    return _png(figure, left, right)


def cost_picture(report: CostReport) -> bytes | None:
    """Total cost over the number of questions, one line a way, with the crossings marked. None: nothing was measured."""
    if not report.rows:
        return None
    figure = _figure(8.0, 4.8)
    axis = figure.subplots()
    retrieval = next((row.running_cost for row in report.rows if row.measured.way == "retrieval"), 0.0)
    crossings = {"tuned": report.break_even_tuned, "both": report.break_even_both}
    met = sorted(crossed for crossed in crossings.values() if crossed)
    # Both crossings, unless the far one would press the near one into the corner. Without any: until training is small against running.
    least = min(row.running_cost for row in report.rows)
    right = (
        1.8 * (met[-1] if met[-1] <= 10 * met[0] else met[0])
        if met
        else max(report.question_count, 4 * report.training_cost / max(least, 1e-12))
    )
    colours = {"retrieval": ORANGE, "tuned": GREEN, "both": BLUE}
    for row in report.rows:
        way = row.measured.way
        fixed = 0.0 if way == "retrieval" else report.training_cost
        label = f"{NAMES[way]}: F1 {row.measured.answer_f1:.2f}, {row.running_cost:.3g} a question"
        crossed = crossings.get(way, 0)
        label += "" if way == "retrieval" else f", cheaper from {crossed:,} on" if crossed else ", never cheaper"
        axis.plot([0, right], [fixed, fixed + right * row.running_cost], color=colours[way], linewidth=2, label=label)
        if 0 < crossed <= right:
            axis.plot([crossed, crossed], [0, crossed * retrieval], color=colours[way], linewidth=1, linestyle=":")
            axis.plot(crossed, crossed * retrieval, "o", color=colours[way], markersize=8, zorder=5)
    top = axis.get_ylim()[1]
    axis.set(
        xlabel="questions", ylabel=f"total cost, {_literal(report.prices.currency)}", xlim=(0, right), ylim=(0, 1.25 * top)
    )  # room for the legend
    axis.set_title("What answering costs, training included", loc="left")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:g}")
    axis.legend(frameon=False, fontsize=9, loc="upper left")
    return _png(figure, axis)


def _literal(text: str) -> str:
    """Two dollar signs would make a formula of what is between them."""
    return text.replace("$", r"\$")


def _figure(width: float, height: float) -> Figure:
    # Loading takes a second or so, and only a job that ends draws. `Figure` itself needs neither a display nor pyplot's global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure, *axes: Any) -> bytes:
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI, metadata={"Software": None})
    return content.getvalue()
