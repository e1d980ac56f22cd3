"""Measures how follow-ups are made to stand alone (services/generator/standalone.py), and how topic changes are told.

    python -m bench.followups --mtrag data/mtrag-un --squad data/squad-v2.0-dev --output bench/results

Recall@10, recall@5 and nDCG@10 on the follow-ups of MTRAG-UN that have gold passages, beside the bare last turn and simple ways to join
turns. "Spliced": the same questions behind a conversation that is not theirs; what is added there can only harm. First questions
(SQuAD, no conversation) must stay as they are. Writes `followups.md`.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.material import Index, Query, load_passages, load_queries
from bench.refusal import mtrag_turns
from services.generator.domain import Turn
from services.generator.standalone import depends, search_query, standalone_question, topic_changed

ROOT = Path(__file__).resolve().parents[1]


def last_turn(question: str, turns: list[Turn]) -> str:
    return question


def all_questions(question: str, turns: list[Turn]) -> str:
    return " ".join([*(turn.question for turn in turns), question])


def previous_and_last(question: str, turns: list[Turn]) -> str:
    return " ".join([*(turn.question for turn in turns[-1:]), question])


def two_previous_and_last(question: str, turns: list[Turn]) -> str:
    return " ".join([*(turn.question for turn in turns[-2:]), question])


def last_answer_too(question: str, turns: list[Turn]) -> str:
    return " ".join([question, *(turn.answer for turn in turns[-1:])])


def once(question: str, turns: list[Turn]) -> str:
    return standalone_question(question, "", turns)


def shipped(question: str, turns: list[Turn]) -> str:
    return search_query(question, standalone_question(question, "", turns))


WAYS: dict[str, Callable[[str, list[Turn]], str]] = {
    "bare last turn": last_turn,
    "all questions": all_questions,
    "previous question + last": previous_and_last,
    "two previous questions + last": two_previous_and_last,
    "last + previous answer": last_answer_too,
    "stand-alone question, searched as it reads": once,
    "stand-alone question, last turn counted twice (shipped)": shipped,
}


def measure(index: Index, queries: list[Query], texts: list[str]) -> np.ndarray:
    """Return recall@10, recall@5 and nDCG@10 of each query, [queries, 3]."""
    rows = []
    for query, text, vector in zip(queries, texts, index.embed_queries(texts), strict=True):
        found = [passage.name for passage in index.search(text, vector, 10)[0]]
        gain = sum(1 / math.log2(rank + 2) for rank, name in enumerate(found) if name in query.gold)
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(10, len(query.gold))))
        rows.append([len(query.gold & set(found)) / len(query.gold), len(query.gold & set(found[:5])) / len(query.gold), gain / ideal])
    return np.array(rows)


def bootstrap(difference: np.ndarray) -> str:
    """Return the mean difference with its 95 % interval (paired bootstrap, 10,000 draws)."""
    generator = np.random.default_rng(5)
    draws = difference[generator.integers(0, len(difference), (10_000, len(difference)))].mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mtrag", type=Path, required=True)
    parser.add_argument("--squad", type=Path, required=True)
    parser.add_argument("--embedding-model", type=Path, default=ROOT / ".corella/models/all-MiniLM-L6-v2")
    parser.add_argument("--cache", type=Path, default=ROOT / ".corella/bench")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results")
    options = parser.parse_args()
    index = Index(load_passages(options.mtrag), options.embedding_model, options.cache)
    every = [query for query in load_queries(options.mtrag) if query.metadata["history"]]
    queries = [query for query in every if query.gold]
    turns = [mtrag_turns(query) for query in queries]
    generator = random.Random(1)
    foreign = [mtrag_turns(generator.choice([other for other in queries if _elsewhere(other, query)])) for query in queries]
    lines = [
        "# Follow-ups",
        "",
        f"{len(queries)} follow-ups of MTRAG-UN with gold passages; BM25 and dense, fused as the retriever does.",
        "",
    ]
    lines += ["| searched for | recall@10 | recall@5 | nDCG@10 | recall@10 against the bare last turn | spliced: recall@10 |"]
    lines += ["|---|---|---|---|---|---|"]
    bare = measure(index, queries, [query.text for query in queries])
    for label, way in WAYS.items():
        own = measure(index, queries, [way(query.text, before) for query, before in zip(queries, turns, strict=True)])
        spliced = measure(index, queries, [way(query.text, before) for query, before in zip(queries, foreign, strict=True)])
        means = " | ".join(f"{value:.3f}" for value in own.mean(axis=0))
        lines.append(f"| {label} | {means} | {bootstrap(own[:, 0] - bare[:, 0])} | {spliced[:, 0].mean():.3f} |")
    questions = [query.text for query in load_queries(options.squad)]
    changed = sum(standalone_question(question, "", []) != question for question in questions)
    lines += ["", f"First questions: {changed} of {len(questions)} SQuAD questions without a conversation are changed.", ""]
    alone = [query for query in every if not depends(query.text)]
    rows = [
        (topic_changed(query.text, before, ""), moved)
        for query in every
        for before, moved in (
            (mtrag_turns(query), False),
            (mtrag_turns(generator.choice([other for other in every if _elsewhere(other, query)])), True),
        )
    ]
    told, true = sum(said for said, _ in rows), sum(said and moved for said, moved in rows)
    lines += [
        "## Topic changes",
        "",
        f"{len(every)} follow-ups behind their own conversation, and each once behind another one of its collection",
    ]
    lines += [f"({len(alone)} of them read as if they stood alone; the others are taken for follow-ups whatever they follow).", ""]
    lines += [f"Told {told}: precision {true / max(told, 1):.3f}, recall {true / len(every):.3f},"]
    lines += [f"false alarms {(told - true) / len(every):.3f} of true follow-ups.", ""]
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "followups.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def _elsewhere(other: Query, query: Query) -> bool:
    same_collection = other.metadata["collection"] == query.metadata["collection"]
    return same_collection and other.metadata["conversation_id"] != query.metadata["conversation_id"]


if __name__ == "__main__":
    main()
