"""Fits and measures the judgement whether passages hold an answer at all (services/generator/refusal.py).

    python -m bench.refusal --squad data/squad-v2.0-dev --mtrag data/mtrag-un --output bench/results

Fits on every other article of SQuAD 2.0 and every other conversation of MTRAG-UN, measures on the rest and on the samples, and writes
`refusal.md` with the coefficients to be copied into the module, and the curve as `refusal.png`. A question counts as answerable when
it is so in the data set and its paragraph is among the four found. "Removed" questions are answerable ones whose paragraph was taken
out of the corpus: the documents of an organisation that simply do not speak of it.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass, fields
from pathlib import Path

import matplotlib as mpl
import numpy as np
from scipy.optimize import minimize
from scipy.stats import mannwhitneyu

from bench.material import Index, Query, load_passages, load_queries, load_sample_passages, load_sample_queries
from services.generator import refusal
from services.generator.domain import Evidence, Passage, Turn
from services.generator.standalone import search_query, standalone_question

mpl.use("Agg")
ROOT = Path(__file__).resolve().parents[1]
SHOWN = 4
NAMES = [field.name for field in fields(refusal.Features)]
FAVOURABLE = {"top_vector_score", "sentence_coverage", "sentence_own_coverage", "question_length"}


@dataclass(frozen=True)
class Case:
    """A question with what was found for it. `kind`: answerable, unanswerable, or removed. `group` is never split."""

    source: str
    group: str
    kind: str
    question: str
    passages: list[Passage]
    evidence: Evidence

    @property
    def features(self) -> list[float]:
        found = refusal.features(self.question, self.passages, self.evidence)
        return [getattr(found, name) for name in NAMES]


def squad_cases(folder: Path, model: Path, cache: Path) -> list[Case]:
    index = Index(load_passages(folder), model, cache)
    queries = load_queries(folder)
    article = {passage.name: passage.title for passage in index.passages}
    cases = []
    for query, vector in zip(queries, index.embed_queries([query.text for query in queries]), strict=True):
        paragraph = query.metadata["paragraph_id"]
        passages, evidence = index.search(query.text, vector, SHOWN)
        if query.metadata["is_impossible"]:
            cases.append(Case("squad", article[paragraph], "unanswerable", query.text, passages, evidence))
            continue
        if paragraph in {passage.name for passage in passages}:
            cases.append(Case("squad", article[paragraph], "answerable", query.text, passages, evidence))
        allowed = np.array([passage.name != paragraph for passage in index.passages])
        passages, evidence = index.search(query.text, vector, SHOWN, allowed)
        cases.append(Case("squad", article[paragraph], "removed", query.text, passages, evidence))
    return cases


def mtrag_turns(query: Query) -> list[Turn]:
    history = [*query.metadata["history"], {"speaker": "user", "text": ""}]
    return [
        Turn(said["text"], after["text"] if after["speaker"] != "user" else "")
        for said, after in itertools.pairwise(history)
        if said["speaker"] == "user"
    ]


def mtrag_cases(folder: Path, model: Path, cache: Path) -> list[Case]:
    index = Index(load_passages(folder), model, cache)
    queries = [query for query in load_queries(folder) if query.metadata["answerability"] in ("ANSWERABLE", "UNANSWERABLE")]
    alone = [standalone_question(query.text, "", mtrag_turns(query)) for query in queries]
    searched = [search_query(query.text, text) for query, text in zip(queries, alone, strict=True)]
    cases = []
    for query, text, search, vector in zip(queries, alone, searched, index.embed_queries(searched), strict=True):
        passages, evidence = index.search(search, vector, SHOWN)
        kind = "unanswerable" if query.metadata["answerability"] == "UNANSWERABLE" else "answerable"
        if kind == "answerable" and not query.gold & {passage.name for passage in passages}:
            continue
        cases.append(Case("mtrag", query.metadata["conversation_id"], kind, text, passages, evidence))
    return cases


def sample_cases(samples: Path, model: Path, cache: Path) -> list[Case]:
    index = Index(load_sample_passages(samples), model, cache)
    queries = load_sample_queries(samples)
    alone = [standalone_question(q.text, "", [Turn(t["question"], t["answer"]) for t in q.metadata["history"]]) for q in queries]
    searched = [search_query(query.text, text) for query, text in zip(queries, alone, strict=True)]
    found = [index.search(search, vector, SHOWN) for search, vector in zip(searched, index.embed_queries(searched), strict=True)]
    kinds = ["answerable" if query.gold else "unanswerable" for query in queries]
    return [Case("samples", q.id, kind, text, *hits) for q, kind, text, hits in zip(queries, kinds, alone, found, strict=True)]


def fit(cases: list[Case]) -> tuple[float, np.ndarray]:
    """Return intercept and weights on the raw features: logistic regression, each weight kept to the sign that reason gives it.

    Without the signs, SQuAD's habits (a title says nothing there) make headings count against an answer, and on the samples the
    judgement gets worse. Answerable questions weigh half; SQuAD has twenty times the questions of MTRAG-UN and weighs four times as much.
    """
    values = np.array([case.features for case in cases])
    labels = np.array([1 if case.kind == "answerable" else -1 for case in cases])
    kinds = [(case.source, case.kind) for case in cases]
    size = {kind: kinds.count(kind) for kind in set(kinds)}
    share = {"answerable": 0.5, "unanswerable": 0.35, "removed": 0.15}
    weights = np.array([share[kind[1]] * (0.2 if kind[0] == "mtrag" else 0.8) / size[kind] for kind in kinds])
    weights /= weights.sum()

    def loss(parameters: np.ndarray) -> float:
        log_odds = values @ parameters[1:] + parameters[0]
        return float((np.logaddexp(0, -labels * log_odds) * weights).sum() + 1e-3 * (parameters[1:] ** 2).sum())

    bounds = [(None, None)] + [(0, None) if name in FAVOURABLE else (None, 0) for name in NAMES]
    found = minimize(loss, np.zeros(len(NAMES) + 1), bounds=bounds, method="L-BFGS-B").x
    return float(found[0]), found[1:]


def judge(cases: list[Case], intercept: float, slopes: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(np.array([case.features for case in cases]) @ slopes + intercept)))


def table(cases: list[Case], scores: np.ndarray, thresholds: list[float]) -> list[str]:
    """One line a threshold: how many of each kind are refused, and precision and recall of refusing the unanswerable."""
    kind = np.array([case.kind for case in cases])
    lines = ["| threshold | false refusals | unanswerable refused (recall) | precision | removed refused |", "|---|---|---|---|---|"]
    for threshold in thresholds:
        refused = scores < threshold
        false, true = (refused & (kind == "answerable")).sum(), (refused & (kind == "unanswerable")).sum()
        cells = [f"{threshold:.2f}", _share(false, (kind == "answerable").sum()), _share(true, (kind == "unanswerable").sum())]
        cells += [f"{true / (true + false):.3f}" if true + false else "-"]
        cells += [_share((refused & (kind == "removed")).sum(), (kind == "removed").sum())]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def areas(cases: list[Case], scores: np.ndarray) -> str:
    kind = np.array([case.kind for case in cases])
    parts = []
    for other in ("unanswerable", "removed"):
        if (kind == other).any():
            above, below = scores[kind == "answerable"], scores[kind == other]
            parts.append(f"{other} {mannwhitneyu(above, below).statistic / (len(above) * len(below)):.3f}")
    return "Area under the ROC curve, answerable against " + ", against ".join(parts) + "."


def draw(curves: dict[str, tuple[list[Case], np.ndarray]], threshold: float, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
    for label, (cases, scores) in curves.items():
        kind = np.array([case.kind for case in cases])
        steps = np.quantile(scores, np.linspace(0.002, 1, 300))
        for other, style in (("unanswerable", "-"), ("removed", "--")):
            if not (kind == other).any():
                continue
            false = np.array([(scores[kind == "answerable"] < step).mean() for step in steps])
            true = np.array([(scores[kind == other] < step).mean() for step in steps])
            (line,) = left.plot(false, true, style, label=f"{label}, {other}")
            at = (scores[kind == "answerable"] < threshold).mean(), (scores[kind == other] < threshold).mean()
            left.plot(*at, "o", color=line.get_color())
            counts = [((scores < step) & (kind == other)).sum() for step in steps]
            wrong = [((scores < step) & (kind == "answerable")).sum() for step in steps]
            precision = [
                right_ / (right_ + wrong_) if right_ + wrong_ > 9 else np.nan for right_, wrong_ in zip(counts, wrong, strict=True)
            ]
            right.plot(true, precision, style, color=line.get_color())
    left.set(xlabel="answerable questions refused", ylabel="others refused", title=f"Dots: threshold {threshold}")
    right.set(xlabel="recall of refusal", ylabel="precision of refusal", title="Precision follows the mix of the data set")
    left.legend(fontsize=7)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f} ({part}/{whole})" if whole else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path, required=True)
    parser.add_argument("--mtrag", type=Path, required=True)
    parser.add_argument("--samples", type=Path, default=ROOT / "samples")
    parser.add_argument("--embedding-model", type=Path, default=ROOT / ".corella/models/all-MiniLM-L6-v2")
    parser.add_argument("--cache", type=Path, default=ROOT / ".corella/bench")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results")
    options = parser.parse_args()
    squad = squad_cases(options.squad, options.embedding_model, options.cache)
    mtrag = mtrag_cases(options.mtrag, options.embedding_model, options.cache)
    samples = sample_cases(options.samples, options.embedding_model, options.cache)
    articles, talks = sorted({case.group for case in squad}), sorted({case.group for case in mtrag})
    held_out = {*articles[1::2], *talks[1::2]}
    intercept, slopes = fit([case for case in (*squad, *mtrag) if case.group not in held_out])
    sets = {
        "SQuAD 2.0, held-out articles": [case for case in squad if case.group in held_out],
        "MTRAG-UN, held-out conversations": [case for case in mtrag if case.group in held_out],
        "samples (never fitted on)": samples,
    }
    thresholds = sorted({0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, refusal.DEFAULT_THRESHOLD})
    lines = ["# Refusal before the model is called", "", "Coefficients fitted in this run:", "", "```", f"INTERCEPT = {intercept:.3f}"]
    lines += [f"{name} = {slope:.3f}" for name, slope in zip(NAMES, slopes, strict=True)] + ["```", ""]
    shipped = (refusal.INTERCEPT, np.array([getattr(refusal.WEIGHTS, name) for name in NAMES]))
    curves = {}
    for label, cases in sets.items():
        scores = judge(cases, *shipped)
        curves[label] = (cases, scores)
        fitted = areas(cases, judge(cases, intercept, slopes))
        lines += [f"## {label}", "", f"Shipped: {areas(cases, scores)}", f"This fit: {fitted}", "", *table(cases, scores, thresholds), ""]
    options.output.mkdir(parents=True, exist_ok=True)
    draw(curves, refusal.DEFAULT_THRESHOLD, options.output / "refusal.png")
    (options.output / "refusal.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
