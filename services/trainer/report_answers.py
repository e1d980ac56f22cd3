"""The part of a report that shows answers: what the base model said, what the candidate says."""

from __future__ import annotations

from services.trainer.asked import Asked
from services.trainer.domain import Example
from services.trainer.markdown import bullets, plain
from services.trainer.report_input import ReportInput

SHOWN_EXAMPLES = 12
_CHANGED = 0.05  # a difference of F1 below this is a matter of wording


def before_and_after(given: ReportInput) -> str:
    """A dozen examples, those that changed most first; empty when base and candidate were not both asked."""
    answers: dict[str, dict[str, Asked]] = {}
    for each in given.asked:
        if each.way == "served":
            answers.setdefault(each.example_id, {})[each.version] = each
    pairs = [
        (example, found["base"], found["candidate"])
        for example in given.examples
        if {"base", "candidate"} <= set(found := answers.get(example.id, {}))
    ]
    if not pairs:
        return ""
    changes = [(_change(example, base, candidate), example, base, candidate) for example, base, candidate in pairs]
    better = sorted((each for each in changes if each[0] > _CHANGED), key=lambda each: -each[0])
    worse = sorted((each for each in changes if each[0] < -_CHANGED), key=lambda each: each[0])
    same = [each for each in changes if abs(each[0]) <= _CHANGED]
    # Half and half, so that neither the good nor the bad news is left out; what remains is filled up.
    half = SHOWN_EXAMPLES // 2
    shown = [*better[: max(half, SHOWN_EXAMPLES - len(worse))], *worse[: max(half, SHOWN_EXAMPLES - len(better))]]
    shown = [*shown, *same][:SHOWN_EXAMPLES]
    blocks = [
        f"## Before and after\n\nAgainst the base model {len(better)} of {len(pairs)} answers got better, {len(worse)} worse, {len(same)} "
        f"stayed about the same. {len(shown)} of them, those that changed most first:"
    ]
    for change, example, base, candidate in shown:
        mark = "better" if change > _CHANGED else "worse" if change < -_CHANGED else "same"
        asked = example.question or (example.messages[-1].text if example.messages else "")
        gold = example.answer if example.answerable else "no answer in the passages: a refusal is right"
        blocks.append(
            f"**{mark}** · {plain(asked, 300)}\n\n"
            + bullets([
                f"gold: {plain(gold, 300)}",
                f"base: {plain(base.text, 300)}{_remark(example, base)}",
                f"candidate: {plain(candidate.text, 300)}{_remark(example, candidate)}",
            ])
        )  # fmt: skip
    return "\n\n".join(blocks)


def _change(example: Example, base: Asked, candidate: Asked) -> float:
    if not example.answerable:
        return float(candidate.refused) - float(base.refused)
    # A right citation counts, so that an answer that lost its source does not pass for the same.
    cited = (candidate.citations_right > 0) - (base.citations_right > 0) if example.is_question else 0
    styled = (candidate.style or 0.0) - (base.style or 0.0)
    return candidate.f1 - base.f1 + 0.5 * cited + styled


def _remark(example: Example, asked: Asked) -> str:
    if asked.refused:
        return ""
    told = [f"F1 {asked.f1:.2f}"] if example.answerable else []
    if asked.citations_total:
        told.append(f"{asked.citations_right} of {asked.citations_total} citations right")
    if asked.style is not None:
        told.append(f"style {asked.style:.2f}")
    return f" *({', '.join(told)})*" if told else ""
