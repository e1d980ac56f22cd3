"""Tables of evaluations, for a terminal and for a file."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from corella.evaluation.answer_metrics import Summary
from corella.evaluation.retrieval import METHODS, Score, difference

Table = tuple[list[str], list[list[str]]]
"""(column heads, rows)"""


def retrieval_table(scores: Sequence[Score]) -> Table:
    """nDCG@10 of every method on every set; the last column compares the default with the better single list."""
    sets = list(dict.fromkeys(score.test_set for score in scores))
    at = {(score.test_set, score.method): score for score in scores}
    names = [method.name for method in METHODS if any(score.method == method.name for score in scores)]
    rows = []
    for test_set in sets:
        row = [test_set, str(len(at[test_set, names[0]].ndcg_by_query))]
        row += [f"{at[test_set, name].ndcg:.3f}" for name in names]
        rows.append([*row, _against_single_lists(at, test_set)])
    mean = [f"{sum(at[test_set, name].ndcg for test_set in sets) / len(sets):.3f}" for name in names]
    rows.append(["**mean**", "", *mean, ""])
    return ["set", "queries", *names, "default − better single list (95 %)"], rows


def _against_single_lists(at: dict[tuple[str, str], Score], test_set: str) -> str:
    try:
        default = at[test_set, "default"]
        single = max((at[test_set, name] for name in ("keyword", "vector")), key=lambda score: score.ndcg)
    except KeyError:
        return ""
    delta, low, high = difference(default, single)
    return f"{delta:+.3f} ({low:+.3f} … {high:+.3f})"


def timing_table(scores: Sequence[Score]) -> Table:
    """Median time of a search in milliseconds, and recall@10, by method and set."""
    heads = ["set", "method", "recall@10", "median ms"]
    return heads, [[s.test_set, s.method, f"{s.recall:.3f}", f"{s.median_milliseconds:.0f}"] for s in scores]


def answer_table(summaries: Sequence[tuple[str, Summary]]) -> Table:
    """One row for each measure, one column for each set."""

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    def seconds(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f} s"

    rows = [
        ["questions (answerable)", *(f"{s.count} ({s.answerable_count})" for _, s in summaries)],
        ["passages hold a gold source", *(share(s.passage_recall) for _, s in summaries)],
        ["answer token F1", *(share(s.f1) for _, s in summaries)],
        ["answer contains gold", *(share(s.contains_gold) for _, s in summaries)],
        ["citation precision", *(share(s.citation_precision) for _, s in summaries)],
        ["citation recall", *(share(s.citation_recall) for _, s in summaries)],
        ["answers that carry a citation", *(share(s.cited_when_answered) for _, s in summaries)],
        ["refusal precision", *(share(s.refusal_precision) for _, s in summaries)],
        ["refusal recall", *(share(s.refusal_recall) for _, s in summaries)],
        ["median time to first text", *(seconds(s.median_first_text_seconds) for _, s in summaries)],
        ["median time of an answer", *(seconds(s.median_total_seconds) for _, s in summaries)],
    ]
    return ["measure", *(name for name, _ in summaries)], rows


def markdown(table: Table) -> str:
    """The table in Markdown."""
    heads, rows = table
    lines = ["| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *rows]]
    return "\n".join(lines)


def write(path: Path, title: str, command: str, tables: Sequence[tuple[str, Table]]) -> None:
    """Writes tables to a Markdown file, with the command, the machine and the date, so that the numbers can be judged and repeated."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    lines = [f"# {title}", "", f"`{command}`, {datetime.date.today().isoformat()}, {machine}.", ""]
    for caption, table in tables:
        lines += [*([caption, ""] if caption else []), markdown(table), ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")
