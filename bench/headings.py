"""Does it help to index title and headings with a chunk's text? `make bench-headings DATA="…/aws-docs-qa …/jira-apache-issues"` (15 min).

The documents are read and cut by the retriever's own readers and chunking, once; then the same chunks are indexed in three ways: the text
alone, with the title before it, and with title and headings before it as the retriever does it. Searching is done here, without a store:
BM25 (k1 1.5, b 0.75) over the retriever's analysis, exact cosine, 100 hits a side, and the retriever's default fusion. What is judged:

    a set in BEIR's form    the page (gold is a page)
    samples/                the section: page or ticket with its anchor
    a set of issues         the beginning of an issue's description is the question, and its own description is left out of the ranking;
                            judged are the issue that the comments found belong to, and whether its last comment of some length is found,
                            where it was mostly settled

Differences to the text alone have 95 % intervals (paired bootstrap over questions). Vectors are kept in .corella/bench-vectors by what was
embedded, so that a second run takes seconds. Writes `bench/results/headings.md` and `.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench.retriever_stack import MODEL, ROOT
from bench.scoring import difference, mean, ndcg_by_query, part_of
from corella.evaluation.beir import TestDocument, load
from corella.evaluation.questions import load_questions
from services.retriever.analysis import analyser
from services.retriever.chunking import CountTokens, cut, embedding_text
from services.retriever.fusion import DEPTH, Hit, weighted
from services.retriever.readers import TICKET, read_document
from services.retriever.structure import DocumentUnreadable

MAX_TOKENS, OVERLAP_TOKENS = 200, 32
"""The defaults of a corpus."""
BLOCK = 512
"""Texts whose vectors are kept in one file."""
K1, B = 1.5, 0.75
QUESTION_WORDS = (8, 60)
SETTLING_WORDS = 15
"""A shorter last comment ("Committed.", "Closing.") settles nothing that could be searched for."""


@dataclass(frozen=True)
class Piece:
    """A chunk, and the names it may be judged by."""

    document: str
    anchor: str
    kind: str
    title: str
    heading_path: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Question:
    """A question; `gold` holds names, `hidden` the place (document, kind) that must not be found."""

    id: str
    text: str
    gold: frozenset[str]
    hidden: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Judged:
    """A set: chunks, questions, and what a chunk is called when it is judged."""

    name: str
    pieces: tuple[Piece, ...]
    questions: tuple[Question, ...]
    called: Callable[[Piece], str]


VARIANTS: dict[str, tuple[Callable[[Piece], str], Callable[[Piece], str]]] = {
    "text": (lambda piece: piece.text, lambda piece: piece.text),
    "title + text": (lambda piece: embedding_text(piece.title, (), piece.text), lambda piece: f"{piece.title}\n{piece.text}"),
    "title + headings + text": (
        lambda piece: embedding_text(piece.title, piece.heading_path, piece.text),
        # As `milvus_schema.py` does it: a title that is also the first heading counts twice.
        lambda piece: f"{piece.title}\n{' '.join(piece.heading_path)}\n{piece.text}",
    ),
}
"""What is embedded, and what BM25 sees."""


# The sets ----------------------------------------------------------------------------------------------------------------------------


def of_pages(folder: Path, limit: int | None, count_tokens: CountTokens) -> list[Judged]:
    """A set in BEIR's form, judged by page."""
    pages = part_of(load(folder), limit, needed=True)
    questions = tuple(
        Question(query.id, query.text, frozenset(page for page, grade in pages.judgements[query.id].items() if grade > 0))
        for query in pages.queries
    )
    return [Judged(pages.name, cut_all(pages.documents(), count_tokens), questions, lambda piece: piece.document)]


def of_samples(count_tokens: CountTokens) -> list[Judged]:
    """`samples/`, judged by section; questions that lean on an earlier one are left out."""
    samples = load_questions(ROOT / "samples")
    questions = tuple(
        Question(each.id, each.text, frozenset(f"{source.document}#{source.anchor or ''}" for source in each.sources))
        for each in samples.questions
        if each.answerable and not each.history
    )
    return [Judged("samples", cut_all(samples.documents(), count_tokens), questions, lambda piece: f"{piece.document}#{piece.anchor}")]


def of_issues(folder: Path, limit: int | None, count_tokens: CountTokens) -> list[Judged]:
    """Issues with comments, judged by issue and by comment."""
    issues = [json.loads(line) for line in (folder / "issues.jsonl").read_text(encoding="utf-8").splitlines()][:limit]
    pieces = cut_all(map(_ticket, issues), count_tokens)
    by_issue, by_comment = [], []
    for issue in issues:
        text, comments = _beginning(issue["description"] or ""), [comment or "" for comment in issue["comments"]]
        settling = [number for number, comment in enumerate(comments) if len(comment.split()) >= SETTLING_WORDS]
        if len(text.split()) < QUESTION_WORDS[0] or not settling:
            continue
        key = issue["issue_id"]
        hidden = (key, "description")
        by_issue.append(Question(key, text, frozenset({key}), hidden))
        by_comment.append(Question(key, text, frozenset({f"{key}#comment-{settling[-1]}"}), hidden))
    return [
        Judged(f"{folder.name}, by issue", pieces, tuple(by_issue), lambda piece: piece.document),
        Judged(f"{folder.name}, by settling comment", pieces, tuple(by_comment), lambda piece: f"{piece.document}#{piece.anchor}"),
    ]


def _ticket(issue: dict[str, Any]) -> TestDocument:
    """The issue in the form of docs/tickets.md."""
    ticket = {
        "key": issue["issue_id"], "summary": issue["title"], "description": issue["description"] or "", "project": issue["project"],
        "state": issue["status"],
        "comments": [{"id": str(number), "body": body} for number, body in enumerate(issue["comments"]) if (body or "").strip()],
    }  # fmt: skip
    return TestDocument(issue["issue_id"], "", json.dumps(ticket).encode(), TICKET)


def _beginning(description: str) -> str:
    """The first two sentences, as somebody would ask who has the problem."""
    sentences = re.split(r"(?<=[.!?])\s+|\n\s*\n", description.strip())
    return " ".join(" ".join(sentences[:2]).split()[: QUESTION_WORDS[1]])


def cut_all(documents: Iterator[TestDocument], count_tokens: CountTokens) -> tuple[Piece, ...]:
    """The chunks of all documents, as the retriever cuts them."""
    pieces = []
    for document in documents:
        try:
            read = read_document(document.content, document.mime_type, f"https://test-set.invalid/{document.id}", document.title)
        except DocumentUnreadable:
            continue
        for piece in cut(read, MAX_TOKENS, OVERLAP_TOKENS, count_tokens):
            pieces.append(Piece(document.id, piece.anchor, piece.kind, read.title, piece.heading_path, piece.text))
    return tuple(pieces)


# The indexes -------------------------------------------------------------------------------------------------------------------------


class Vectors:
    """A sentence-transformers model in bfloat16, two threads; what it computed is kept."""

    def __init__(self, model: Path, kept: Path) -> None:
        from transformers import AutoTokenizer

        self._path, self._kept = model, kept
        self._model: Any = None
        self._tokenizer = AutoTokenizer.from_pretrained(str(model))
        kept.mkdir(parents=True, exist_ok=True)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not included."""
        encoded = self._tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def of(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Text to unit vector, float32."""
        # Of like length together, so that a block costs what it holds.
        unique = sorted(set(texts), key=lambda text: (len(text), text))
        blocks = [unique[start : start + BLOCK] for start in range(0, len(unique), BLOCK)]
        vectors: dict[str, np.ndarray] = {}
        for block in blocks:
            vectors.update(zip(block, self._block(block), strict=True))
            print(f"\r  vectors: {len(vectors):,} of {len(unique):,}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return vectors

    def _block(self, texts: list[str]) -> np.ndarray:
        key = hashlib.sha256("\0".join([self._path.name, "bfloat16", *texts]).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        file = self._kept / f"{key}.npy"
        if file.exists():
            return np.asarray(np.load(file, allow_pickle=False))
        if self._model is None:
            import torch
            from sentence_transformers import SentenceTransformer

            torch.set_num_threads(2)
            self._model = SentenceTransformer(str(self._path), device="cpu", model_kwargs={"dtype": "bfloat16"})
        raw = self._model.encode(texts, batch_size=64, show_progress_bar=False, convert_to_tensor=True).float().numpy()
        vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        partial = file.with_suffix(".partial.npy")
        np.save(partial, vectors)
        partial.replace(file)
        return np.asarray(vectors)


class Keywords:
    """BM25 with the "+1" inside the logarithm, as the store computes it."""

    def __init__(self, texts: Sequence[str]) -> None:
        documents = [analyser().terms(text) for text in texts]
        self._count = len(documents)
        lengths = np.array([len(document) for document in documents], dtype=float)
        norm = K1 * (1 - B + B * lengths / lengths.mean())
        postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, document in enumerate(documents):
            for term, occurrences in Counter(document).items():
                postings[term].append((number, occurrences))
        self._gains = {}
        for term, found in postings.items():
            numbers = np.array([number for number, _ in found])
            often = np.array([occurrences for _, occurrences in found], dtype=float)
            idf = math.log(1 + (self._count - len(found) + 0.5) / (len(found) + 0.5))
            self._gains[term] = numbers, idf * often * (K1 + 1) / (often + norm[numbers])

    def scores(self, query: str) -> np.ndarray:
        """The score of every text."""
        scores = np.zeros(self._count)
        for term in analyser().terms(query):
            if term in self._gains:
                numbers, gains = self._gains[term]
                scores[numbers] += gains
        return scores


def best(scores: np.ndarray, allowed: np.ndarray, floor: float) -> list[Hit]:
    """The best hits above the floor."""
    scores = np.where(allowed, scores, floor)
    return [Hit(str(number), float(scores[number])) for number in np.argsort(-scores, kind="stable")[:DEPTH] if scores[number] > floor]


def measure_set(judged: Judged, vectors: Vectors) -> dict[str, dict[str, float]]:
    """nDCG@10 by question for each way: (`vectors`, variant), (`BM25`, variant), (`fused`, variant of BM25, of vectors)."""
    print(f"{judged.name}: {len(judged.pieces):,} chunks, {len(judged.questions)} questions", file=sys.stderr, flush=True)
    texts = {variant: [embedded(piece) for piece in judged.pieces] for variant, (embedded, _) in VARIANTS.items()}
    known = vectors.of([text for each in texts.values() for text in each] + [question.text for question in judged.questions])
    dense = {variant: np.stack([known[text] for text in each]) for variant, each in texts.items()}
    keywords = {variant: Keywords([seen(piece) for piece in judged.pieces]) for variant, (_, seen) in VARIANTS.items()}
    names = [judged.called(piece) for piece in judged.pieces]
    places = [(piece.document, piece.kind) for piece in judged.pieces]
    ranked: dict[str, dict[str, list[str]]] = defaultdict(dict)

    for question in judged.questions:
        allowed = np.array([place != question.hidden for place in places])
        by_vector = {variant: best(dense[variant] @ known[question.text], allowed, -1.0) for variant in VARIANTS}
        by_keyword = {variant: best(keywords[variant].scores(question.text), allowed, 0.0) for variant in VARIANTS}
        for variant in VARIANTS:
            ranked[way("vectors", variant)][question.id] = [names[int(hit.id)] for hit in by_vector[variant]]
            ranked[way("BM25", variant)][question.id] = [names[int(hit.id)] for hit in by_keyword[variant]]
            for other in VARIANTS:
                fused = weighted(by_keyword[variant], by_vector[other])
                ranked[way("fused", variant, other)][question.id] = [names[int(hit.id)] for hit in fused]
    judgements = {question.id: dict.fromkeys(question.gold, 1) for question in judged.questions}
    return {name: ndcg_by_query(judgements, found) for name, found in ranked.items()}


def way(side: str, *variants: str) -> str:
    """The key of a way."""
    return " | ".join((side, *variants))


# The result --------------------------------------------------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        "# Title and headings in what is indexed",
        "",
        f"{result['model']}, bfloat16, sentence-transformers · {result['machine']} · {result['date']}. Made by `make bench-headings`.",
        "nDCG@10; in brackets the difference to the text alone with its 95 % interval. BM25, exact cosine and the default fusion, no "
        f"store; the retriever's readers and chunks ({MAX_TOKENS} tokens, {OVERLAP_TOKENS} overlapping).",
    ]
    for each in result["sets"]:
        scores: Mapping[str, Mapping[str, float]] = each["scores"]
        lines += ["", f"## {each['name']}", "", f"{each['chunks']:,} chunks, {each['questions']} questions.", ""]
        lines += ["| what is indexed | vectors | BM25 | fused |", "| --- | --- | --- | --- |"]
        for variant in VARIANTS:
            cells = [
                _cell(scores[way(side, *[variant] * count)], scores[way(side, *["text"] * count)], variant == "text")
                for side, count in (("vectors", 1), ("BM25", 1), ("fused", 2))
            ]
            lines.append("| " + " | ".join((variant, *cells)) + " |")
        lines += ["", "Fused, each side in its own way:", ""]
        lines += ["| BM25 over ↓, vectors of → | " + " | ".join(VARIANTS) + " |", "| --- " * (len(VARIANTS) + 1) + "|"]
        for variant in VARIANTS:
            cells = [f"{mean(scores[way('fused', variant, other)]):.3f}" for other in VARIANTS]
            lines.append("| " + " | ".join((variant, *cells)) + " |")
    return "\n".join([*lines, ""])


def _cell(scores: Mapping[str, float], alone: Mapping[str, float], is_alone: bool) -> str:
    change, low, high = difference(scores, alone)
    return f"{mean(scores):.3f}" + ("" if is_alone else f" ({change:+.3f}; {low:+.3f} … {high:+.3f})")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All sets."""
    load_before = os.getloadavg()[0]
    vectors = Vectors(arguments.model, ROOT / ".corella/bench-vectors")
    sets = of_samples(vectors.count_tokens)
    for folder in arguments.data:
        sets += (of_issues if (folder / "issues.jsonl").is_file() else of_pages)(folder, arguments.limit, vectors.count_tokens)
    return {
        "model": arguments.model.name,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load_before:.1f} before",
        "date": datetime.now(UTC).date().isoformat(),
        "sets": [
            {"name": each.name, "chunks": len(each.pieces), "questions": len(each.questions), "scores": measure_set(each, vectors)}
            for each in sets
        ],
    }


def main() -> int:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*", help="folders in BEIR's form, or with issues.jsonl; samples/ is always measured")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--limit", type=int, help="so many documents of each set, those that answer the questions first; default: all")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results/headings.md")
    arguments = parser.parse_args()
    arguments.model = arguments.model.absolute()
    result = measure(arguments)
    text = table(result)
    arguments.output.write_text(text, encoding="utf-8")
    arguments.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
