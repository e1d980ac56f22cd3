"""Lazy corpora beside eager ones, from the hand-in to the last vector: `make bench-lazy DATA=…/aws-docs-qa` (15 minutes).

The pages are handed in to an eager and to a lazy corpus of a real stack; the time until all documents are ACTIVE is the time until they can
be searched. The lazy corpus is then warmed in the background (by running the worker) up to a share of its chunks, and every question is
asked, one at a time, on a copy of the stack's folder: so no measurement warms the corpus for the next, and the worker rests while questions
are asked. On the copy that is not warmed, the questions are asked a second time: what they embedded is then there.

Only public calls are used: counts come from `GetCorpus`. nDCG@10 is by page, from 100 passages, as in `corella eval retrieval`; latencies
are the client's. Writes `bench/results/lazy.md`, `.json` and `.png`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench.retriever_stack import CALL_SECONDS, MODEL, PARTS, ROOT, RetrieverStack, running
from bench.scoring import Part, difference, mean, ndcg_by_query, part_of
from corella.evaluation.beir import load
from corella.evaluation.retrieval import document_id
from corella.v1 import operation_pb2, retriever_pb2

CORPUS = "pages"
SHARES = (0.25, 0.5, 0.75, 1.0)
DEPTH = 100
NOWHERE = "qzxqzx"
"""In no page: a search for it loads what searches need and finds no keyword hit that would be embedded."""
STILL_SECONDS = 300.0
SERVING = tuple(name for name in PARTS if name not in {"embedder", "worker"})
PARTS_OF_A_SEARCH = {
    "keyword": "keywords",
    "embed_query": "the question's vector",
    "embed_hits": "vectors of hits",
    "vector": "vector search",
}
"""The fields of `SearchTimings`, in words."""
TITLES = {
    retriever_pb2.EMBEDDING_MODE_EAGER: "EAGER",
    retriever_pb2.EMBEDDING_MODE_LAZY: "LAZY",
}
Stage = dict[str, Any]


def ask_all(stack: RetrieverStack, pages: Part, mode: retriever_pb2.SearchMode = retriever_pb2.SEARCH_MODE_HYBRID) -> dict[str, Any]:
    """Asks every question, one after the other. nDCG@10 by question, and milliseconds of each, in all and as the service says."""
    ranked: dict[str, list[str]] = {}
    milliseconds = []
    parts: dict[str, list[float]] = {part: [] for part in PARTS_OF_A_SEARCH}
    for query in pages.queries:
        request = retriever_pb2.SearchRequest(corpus=f"corpora/{CORPUS}", query=query.text, limit=DEPTH, mode=mode)
        started = time.perf_counter()
        response = stack.retriever.Search(request, timeout=CALL_SECONDS)
        milliseconds.append(1000 * (time.perf_counter() - started))
        for part, taken in parts.items():
            taken.append(1000 * getattr(response.timings, part).ToTimedelta().total_seconds())
        ranked[query.id] = [document_id(passage.uri) for passage in response.passages]
    return {"scores": ndcg_by_query(pages.judgements, ranked), "milliseconds": milliseconds, "parts": parts}


def stage(stack: RetrieverStack, pages: Part, name: str, **options: Any) -> Stage:
    """One pass of the questions, with the shares of chunks that have a vector before and after it."""
    print(f"  asking: {name} …", file=sys.stderr, flush=True)
    before = share(stack)
    asked = ask_all(stack, pages, **options)
    return {"name": name, "before": before, "after": settled_share(stack)} | asked


def share(stack: RetrieverStack) -> float:
    """Share of the chunks that have a vector."""
    corpus = stack.corpus(CORPUS)
    return corpus.embedded_chunk_count / corpus.chunk_count


def settled_share(stack: RetrieverStack) -> float:
    """The same once vectors that searches computed have been written, which goes on beside the answers."""
    last = -1.0
    while (now := share(stack)) != last:
        last = now
        time.sleep(2)
    return now


def copied(stack: RetrieverStack, folder: Path, copy: Path) -> None:
    """Goes on in a copy of the folder, which holds whole what the stack wrote; nothing but the worker is started in it."""
    # Closed first: what is copied is what a restart would find.
    stack.stop("worker", *SERVING)
    shutil.copytree(folder, copy)
    stack.move(copy)
    stack.start(*SERVING)
    request = retriever_pb2.SearchRequest(corpus=f"corpora/{CORPUS}", query=NOWHERE, limit=1)
    for _ in range(3):
        stack.retriever.Search(request, timeout=CALL_SECONDS)


def hand_in(stack: RetrieverStack, folder: Path, pages: Part, mode: retriever_pb2.EmbeddingMode) -> dict[str, Any]:
    """All pages into a new corpus in a fresh folder; the worker stops as soon as every document is ACTIVE."""
    stack.move(folder)
    stack.start(*SERVING, "worker")
    stack.warm_up()
    bar = Progress(TITLES[mode])
    seconds = stack.ingest(pages, CORPUS, bar, mode)
    corpus = stack.corpus(CORPUS)
    stack.stop("worker")
    return {"seconds": seconds, "chunks": corpus.chunk_count, "share": corpus.embedded_chunk_count / corpus.chunk_count}


def warm(stack: RetrieverStack, folder: Path, until: float) -> tuple[float, float]:
    """Lets the worker warm the corpus in `folder` up to this share.

    Returns the share that came after the first change was seen, and the seconds that took: the worker's start is not warming.
    """
    stack.move(folder)
    stack.start(*SERVING)
    first = share(stack)
    stack.start("worker")
    begun = moved = time.perf_counter()
    last = first_change = first
    while (now := share(stack)) < until:
        print(f"\r  warming: {now:.0%} of the chunks …", end="", file=sys.stderr, flush=True)
        clock = time.perf_counter()
        if first in {now, first_change}:
            begun, first_change = clock, now
        moved, last = (moved, last) if now == last else (clock, now)
        if clock - moved > STILL_SECONDS:
            raise SystemExit(f"the corpus has not become warmer for {STILL_SECONDS:.0f} s; the worker's log ends:\n{stack.log('worker')}")
        time.sleep(0.5)
    print(file=sys.stderr)
    gained = now - first_change, time.perf_counter() - begun
    stack.stop("worker")
    return gained


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything."""
    load_before = os.getloadavg()[0]
    pages = part_of(load(arguments.data), arguments.limit, needed=True)
    stages: list[Stage] = []
    with tempfile.TemporaryDirectory(prefix="corella-bench-") as temporary:
        root = Path(temporary)
        with running(root / "empty", "embedder", model=arguments.model) as stack:
            eager = hand_in(stack, root / "eager", pages, retriever_pb2.EMBEDDING_MODE_EAGER)
            copied(stack, root / "eager", root / "copy")
            keyword = stage(stack, pages, "keywords alone", mode=retriever_pb2.SEARCH_MODE_KEYWORD)
            reference = stage(stack, pages, "EAGER")
            stack.move(root / "between")
            shutil.rmtree(root / "copy")

            lazy = hand_in(stack, root / "lazy", pages, retriever_pb2.EMBEDDING_MODE_LAZY)
            copied(stack, root / "lazy", root / "copy")
            stages += [stage(stack, pages, "not warmed, each question for the first time"), stage(stack, pages, "the same questions again")]
            gains: list[tuple[float, float]] = []
            for wanted in SHARES:
                stack.move(root / "between")
                shutil.rmtree(root / "copy")
                gains.append(warm(stack, root / "lazy", wanted))
                copied(stack, root / "lazy", root / "copy")
                stages.append(stage(stack, pages, f"warmed to {wanted:.0%}, each question for the first time"))
            model = stack.model_card()
    return {
        "model": model,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load_before:.1f} before",
        "date": datetime.now(UTC).date().isoformat(),
        "pages": sum(1 for _ in pages.documents()),
        "set": pages.name,
        "questions": len(pages.queries),
        "eager": eager,
        "lazy": lazy,
        # Of the whole corpus, at the pace measured; a small corpus is warm before a pace can be seen.
        "warming_seconds": sum(seconds for _, seconds in gains) / gained if (gained := sum(share for share, _ in gains)) > 0.1 else None,
        "reference": reference,
        "keyword": keyword,
        "stages": stages,
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    eager, lazy, reference, stages = result["eager"], result["lazy"], result["reference"], result["stages"]
    rows = [["", "nDCG@10", "to EAGER (95 % interval)", "latency, median / p95, ms", "chunks with a vector, before → after"], ["---"] * 5]
    for each in (reference, result["keyword"], *stages):
        change, low, high = difference(each["scores"], reference["scores"])
        rows.append([
            each["name"], f"{mean(each['scores']):.3f}", "" if each is reference else f"{change:+.3f} ({low:+.3f} … {high:+.3f})",
            " / ".join(f"{value:,.0f}" for value in np.percentile(each["milliseconds"], [50, 95])),
            f"{each['before']:.1%} → {each['after']:.1%}",
        ])  # fmt: skip
    warming = "too quick to be seen" if result["warming_seconds"] is None else f"{result['warming_seconds']:.0f}"
    lines = [
        "# Lazy corpora beside eager ones",
        "",
        f"{result['model']} · {result['machine']} · {result['date']}.",
        f"{result['pages']:,} pages of {result['set']}, {eager['chunks']:,} chunks, {result['questions']} questions asked one at a time. "
        "Made by `make bench-lazy`.",
        "",
        "| | EAGER | LAZY |",
        "| --- | --- | --- |",
        f"| seconds until every document can be searched | {eager['seconds']:.0f} | {lazy['seconds']:.0f} |",
        f"| chunks with a vector by then | {eager['share']:.1%} | {lazy['share']:.1%} |",
        f"| chunks ever embedded, when the questions are asked and nothing is warmed | 100.0% | {stages[0]['after']:.1%} |",
        f"| seconds of warming in the background for all chunks, at the pace measured | | {warming} |",
        "",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        "Where the time of a search goes, medians in ms (as `SearchTimings` says):",
        "",
        "| | " + " | ".join(PARTS_OF_A_SEARCH.values()) + " |",
        "| --- " * (len(PARTS_OF_A_SEARCH) + 1) + "|",
        *(
            f"| {each['name']} | " + " | ".join(f"{np.median(each['parts'][part]):,.0f}" for part in PARTS_OF_A_SEARCH) + " |"
            for each in (reference, *stages)
        ),
        "",
        "![As a lazy corpus warms](lazy.png)",
        "",
    ]
    return "\n".join(lines)


def picture(result: dict[str, Any], path: Path) -> None:
    """Quality and latency over the share of chunks that have a vector; the eager corpus as lines."""
    from matplotlib.figure import Figure

    first = [each for each in result["stages"] if "again" not in each["name"]]
    again = next(each for each in result["stages"] if "again" in each["name"])
    reference, keyword = result["reference"], result["keyword"]
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    quality, latency = figure.subplots(1, 2)
    shares = [100 * each["before"] for each in first]
    quality.plot(shares, [mean(each["scores"]) for each in first], "o-", label="LAZY, each question for the first time")
    quality.plot([100 * again["before"]], [mean(again["scores"])], "s", label="LAZY, the same questions again, nothing warmed")
    quality.axhline(mean(reference["scores"]), color="black", linewidth=1, label="EAGER")
    quality.axhline(mean(keyword["scores"]), color="grey", linewidth=1, linestyle=":", label="keywords alone")
    quality.set(xlabel="chunks with a vector before the questions, %", ylabel="nDCG@10", xlim=(0, 100))
    for percent, style in ((50, "-"), (95, "--")):
        name = "median" if percent == 50 else "95th percentile"
        latency.plot(
            shares, [np.percentile(each["milliseconds"], percent) for each in first], f"o{style}", color="C0", label=f"LAZY, {name}"
        )
        latency.plot([100 * again["before"]], [np.percentile(again["milliseconds"], percent)], "s", color="C1")
        latency.axhline(
            np.percentile(reference["milliseconds"], percent), color="black", linewidth=1, linestyle=style, label=f"EAGER, {name}"
        )
    latency.set(xlabel="chunks with a vector before the questions, %", ylabel="milliseconds", xlim=(0, 100), ylim=(0, None))
    for axes in (quality, latency):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path)


class Progress:
    """One line that counts documents."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, operation: operation_pb2.Operation) -> None:
        end = "\n" if operation.state >= operation_pb2.OPERATION_STATE_SUCCEEDED else ""
        print(f"\r{self._name}: {operation.done_count:,} of {operation.total_count:,} documents", end=end, file=sys.stderr, flush=True)


def main() -> int:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder in BEIR's form")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--limit", type=int, help="so many pages, those that answer the questions first; default: all")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results/lazy.md")
    arguments = parser.parse_args()
    arguments.model = arguments.model.absolute()
    result = measure(arguments)
    text = table(result)
    arguments.output.write_text(text, encoding="utf-8")
    arguments.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    picture(result, arguments.output.with_suffix(".png"))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
