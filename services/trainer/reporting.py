"""The report of a job: Markdown and pictures, as one would show them to a colleague. Plain dataclasses in, text and PNG out; blocking.

What came from outside (questions, answers, names, warnings that quote them) goes through `markdown.plain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from services.trainer.costing import NAMES
from services.trainer.domain import Cause
from services.trainer.markdown import bullets, code, plain, table
from services.trainer.report_answers import before_and_after
from services.trainer.report_input import DatasetFacts, Report, ReportInput, Trial
from services.trainer.report_metrics import corner_cases, metrics, repair
from services.trainer.report_pictures import cost_picture, loss_picture, metric_picture

__all__ = ["CAUSE_NAMES", "DatasetFacts", "Report", "ReportInput", "Trial", "write_report"]

CAUSE_NAMES: Mapping[Cause, str] = {
    Cause.TOO_LITTLE_DATA: "too few examples",
    Cause.INCONSISTENT_DATA: "examples that contradict each other",
    Cause.LEAKING_DATA: "training examples among those judged on",
    Cause.UNDERFITTING: "training ended too early",
    Cause.OVERFITTING: "learnt by heart",
    Cause.LEARNING_RATE_TOO_LOW: "learning rate too low",
    Cause.LEARNING_RATE_TOO_HIGH: "learning rate too high",
    Cause.RANK_TOO_SMALL: "rank too small",
    Cause.WRONG_OBJECTIVE: "the examples teach something else than what is judged",
    Cause.NO_EFFECT: "the adapter does nothing",
}


def write_report(given: ReportInput) -> Report:
    """The report. Takes a second or two, most of it for the pictures."""
    pictures: dict[str, bytes] = {}
    if given.outcome.steps:
        pictures["loss.png"] = loss_picture(given.outcome.steps, given.outcome.initial_validation_loss)
    if given.decision is not None and (drawn := metric_picture(given.decision.comparisons)) is not None:
        pictures["metrics.png"] = drawn
    if given.cost is not None and (costs := cost_picture(given.cost)) is not None:
        pictures["cost.png"] = costs
    sections = (
        _verdict(given),
        _cause(given),
        _training_data(given),
        metrics(given, "metrics.png" in pictures),
        corner_cases(given),
        repair(given),
        _losses(given, "loss.png" in pictures),
        before_and_after(given),
        _cost(given, "cost.png" in pictures),
        _search(given),
        _to_repeat(given),
    )
    return Report("\n\n".join(section for section in sections if section) + "\n", pictures)


def _verdict(given: ReportInput) -> str:
    name = plain(given.display_name or given.job_name, 80)
    decision = given.decision
    if decision is None:
        verdict = "Trained; not judged by the gate"
    elif decision.accepted:
        verdict = "Accepted"
    else:
        verdict = f"Rejected: {CAUSE_NAMES[given.diagnosis.cause]}" if given.diagnosis else "Rejected"
    made = code(given.adapter) if given.adapter else f"a whole model at {code(given.model_uri)}" if given.model_uri else "nothing to keep"
    method = given.method.value.replace("_", " ")
    came = f"Job {code(given.job_name)} made {made} ({method}) from {plain(given.base_model or 'the base model')}."
    if decision is not None:
        came += f" It was compared with {code(given.serving) if given.serving else 'the base model'}, which served at the time."
    lines = [f"# {verdict} – {name}", came]
    if decision is not None:
        lines.append(bullets([*decision.reasons, *given.notes]))
        if given.canary_shift is not None:
            lines.append(
                f"Canary: the adapter moves a token's log-probability by up to {given.canary_shift:.3g} nats, averaged over a text."
            )
    elif given.notes:
        lines.append(bullets(given.notes))
    return "\n\n".join(lines)


def _cause(given: ReportInput) -> str:
    diagnosis = given.diagnosis
    if diagnosis is None:
        return ""
    return (
        f"## Why, most likely: {CAUSE_NAMES[diagnosis.cause]}\n\n{bullets(diagnosis.evidence)}\n\n**What to try next:** {diagnosis.advice}"
    )


def _training_data(given: ReportInput) -> str:
    data = given.dataset
    rows = [
        ["trained on", f"{given.outcome.training_count:,} of {data.training_count:,}"],
        ["validated on", f"{given.outcome.validation_count:,} of {data.validation_count:,}"],
        ["held out", f"{data.held_out_count:,}"],
        ["corner cases", f"{data.corner_case_count:,}"],
        ["near-duplicates left out", f"{data.duplicate_count:,}"],
        ["left out, their document is gone", f"{data.dropped_count:,}"],
        ["tokens learnt from, all epochs", f"{given.outcome.tokens:,}"],
    ]
    name = f"{plain(data.display_name, 80)} ({code(data.name)})" if data.display_name else code(data.name)
    text = f"## What it learnt from\n\n{name}\n\n{table(['examples', ''], rows)}"
    return text + (f"\n\nTo know about the examples:\n\n{bullets([plain(each) for each in data.warnings])}" if data.warnings else "")


def _losses(given: ReportInput, pictured: bool) -> str:
    outcome = given.outcome
    rows = [
        ["unseen examples, before the first step", f"{outcome.initial_validation_loss:.3f}"],
        ["unseen examples, at the end", f"{outcome.final_validation_loss:.3f}"],
        ["seen examples, at the end", f"{outcome.final_training_loss:.3f}"],
        ["unseen examples with their responses exchanged", f"{outcome.shuffled_validation_loss:.3f}"],
    ]
    text = f"## How the training went\n\n{table(['loss, nats per token of the response', ''], rows)}"
    if outcome.diverged:
        text += "\n\nIt was stopped early: the loss was no number, or far above where it began."
    return text + ("\n\n![Loss and learning rate over the steps](loss.png)" if pictured else "")


def _cost(given: ReportInput, pictured: bool) -> str:
    usage = given.usage
    text = (
        f"## What it cost\n\nTraining ran for {usage.training_seconds:,.0f} s (summed over its workers), the gate for "
        f"{usage.evaluation_seconds:,.0f} s, preparing the examples for {usage.preparation_seconds:,.0f} s."
    )
    if (report := given.cost) is None or not report.rows:
        return text
    rows = [
        [
            NAMES[row.measured.way], f"{row.measured.prompt_tokens:,.0f}", f"{row.measured.completion_tokens:,.0f}",
            f"{row.measured.retrieval_seconds:.2f} s", f"{row.measured.engine_seconds:.2f} s", f"{row.running_cost:.3g}",
            f"{row.training_cost:.3g}", f"{row.total_cost:.3g}", f"{row.measured.answer_f1:.2f}",
        ]
        for row in report.rows
    ]  # fmt: skip
    currency = plain(report.prices.currency, 40)
    heads = ["per question", "prompt tokens", "written", "retrieval", "engine", "running", "training", "total", "answer F1"]
    text += f"\n\nCosts in {currency}, training ({report.training_cost:,.0f}) spread over {report.question_count:,} questions:\n\n"
    text += f"{table(heads, rows)}\n\n{bullets([plain(note, 1000) for note in report.notes])}"
    return text + ("\n\n![Total cost over the number of questions](cost.png)" if pictured else "")


def _search(given: ReportInput) -> str:
    if not given.trials:
        return ""
    names = list(dict.fromkeys(name for trial in given.trials for name in trial.values))
    rows = [
        [f"**{trial.validation_loss:.3f}**, taken" if trial.chosen else f"{trial.validation_loss:.3f}"]
        + [_value(trial.values.get(name, "")) for name in names]
        for trial in sorted(given.trials, key=lambda trial: trial.validation_loss)
    ]
    return f"## The search\n\n{table(['validation loss', *(name.replace('_', ' ') for name in names)], rows)}"


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _to_repeat(given: ReportInput) -> str:
    rows = [[f"`{name}`", f"`{value}`"] for name, value in asdict(given.settings).items()]
    rows += [[plain(name, 60), plain(value, 120)] for name, value in given.versions.items()]
    if given.dataset.fingerprint:
        rows.append(["examples (SHA-256)", f"`{given.dataset.fingerprint}`"])
    if given.outcome.trainable_parameters:
        rows.append(["parameters trained", f"{given.outcome.trainable_parameters:,}"])
    return f"## To repeat it\n\n{table(['setting', 'value'], rows)}"
