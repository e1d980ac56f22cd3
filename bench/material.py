"""What the measurements of answer quality share: data sets, passages of the samples, and retrieval over them without a server.

Retrieval here is BM25 (k1 1.5, b 0.75, over the retriever's own analysis) and exact cosine over a sentence-transformers model, fused as
the retriever does by default: its path without its store. Data sets are folders in BEIR form: `corpus.jsonl`, `queries.jsonl`, `qrels.tsv`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from services.generator.domain import Evidence, Passage
from services.retriever.analysis import analyser
from services.retriever.fusion import Hit, weighted

HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}


@dataclass(frozen=True)
class Query:
    """A question with what is known of its answer. `gold` holds names of passages."""

    id: str
    text: str
    gold: frozenset[str]
    metadata: dict[str, Any]


def load_passages(folder: Path) -> list[Passage]:
    """Read `corpus.jsonl`."""
    lines = (json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines())
    return [Passage(row["_id"], row["_id"], row["title"], row["_id"], (), row["text"].strip(), metadata=_strings(row)) for row in lines]


def load_queries(folder: Path) -> list[Query]:
    """Read `queries.jsonl` and `qrels.tsv`."""
    gold: dict[str, set[str]] = defaultdict(set)
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, passage, score = line.split("\t")
        if float(score) > 0:
            gold[query].add(passage)
    rows = (json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines())
    return [Query(row["_id"], row["text"], frozenset(gold[row["_id"]]), row["metadata"]) for row in rows]


def load_sample_queries(samples: Path) -> list[Query]:
    """Read the samples' questions; gold passages are `path#anchor`."""
    rows = (json.loads(line) for line in (samples / "questions.jsonl").read_text(encoding="utf-8").splitlines())
    return [Query(row["id"], row["question"], frozenset(f"{s['path']}#{s['anchor']}" for s in row["sources"]), row) for row in rows]


def load_sample_passages(samples: Path) -> list[Passage]:
    """Cut the samples at their headings, and tickets into description, comments and solution; the name is `path#anchor`."""
    passages: list[Passage] = []
    for path in sorted((samples / "pages").rglob("*")):
        if path.suffix in (".md", ".html"):
            passages += _sections(path, str(path.relative_to(samples)))
    for path in sorted((samples / "tickets").glob("*.json")):
        ticket = json.loads(path.read_text(encoding="utf-8"))
        parts = [("description", ticket["description"])]
        parts += [(f"comment-{comment['id']}", comment["body"]) for comment in ticket["comments"]]
        parts += [("solution", ticket["solution"]["body"])] if ticket["solution"] else []
        title = ": ".join((ticket["key"], ticket["summary"]))
        name = str(path.relative_to(samples))
        passages += [Passage(f"{name}#{a}", name, title, f"{name}#{a}", (a.split("-")[0].capitalize(),), text) for a, text in parts]
    return passages


def _sections(path: Path, name: str) -> list[Passage]:
    from bs4 import BeautifulSoup
    from markdown_it import MarkdownIt

    source = path.read_text(encoding="utf-8")
    html = str(MarkdownIt("commonmark").enable("table").render(source)) if path.suffix == ".md" else source
    soup = BeautifulSoup(html, "lxml")
    body = soup.find("main") or soup.body or soup
    sections: list[tuple[list[str], str, list[str]]] = []
    trail: list[tuple[int, str]] = []
    for element in body.find_all([*HEADINGS, "p", "li", "tr", "pre", "dt", "dd"]):
        text = " ".join(element.get_text(" ").split())
        if element.name in HEADINGS:
            level = int(element.name[1])
            trail = [*(entry for entry in trail if entry[0] < level), (level, text)]
            anchor = str(element.get("id") or re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-"))
            sections.append(([heading for _, heading in trail], anchor, []))
        elif sections and not (element.name == "p" and element.find_parent("li")):
            if element.name == "tr":
                text = "| " + " | ".join(" ".join(cell.get_text(" ").split()) for cell in element.find_all(["td", "th"])) + " |"
            sections[-1][2].append(f"- {text}" if element.name == "li" else text)
    title = sections[0][0][0] if sections else path.stem
    return [Passage(f"{name}#{a}", name, title, f"{name}#{a}", tuple(trail[1:]), "\n".join(t)) for trail, a, t in sections if t]


@cache
def encoder(model: Path) -> Any:
    """Load the embedding model once."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(2)
    return SentenceTransformer(str(model), device="cpu")


def embed(texts: Sequence[str], model: Path, cache_folder: Path) -> np.ndarray:
    """Return unit vectors, [len(texts), dimensions] float32, kept in `cache_folder` by what was embedded."""
    key = hashlib.sha256("\x00".join([model.name, *texts]).encode()).hexdigest()[:24]
    kept = cache_folder / f"{key}.npy"
    if kept.exists():
        return np.load(kept)
    vectors = encoder(model).encode(list(texts), batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    cache_folder.mkdir(parents=True, exist_ok=True)
    np.save(kept, vectors)
    return np.asarray(vectors)


class Index:
    """Passages that can be searched by keywords, by vector, and by both."""

    def __init__(self, passages: Sequence[Passage], model: Path, cache_folder: Path) -> None:
        self.passages = list(passages)
        self._model, self._cache = model, cache_folder
        texts = ["\n".join((passage.title, *passage.heading_path, passage.text)) for passage in self.passages]
        self._vectors = embed(texts, model, cache_folder)
        documents = [analyser().terms(text) for text in texts]
        self.term_sets = [frozenset(document) for document in documents]
        lengths = np.array([len(document) for document in documents], dtype=float)
        norm = 1.5 * (1 - 0.75 + 0.75 * lengths / lengths.mean())
        postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, document in enumerate(documents):
            for term, count in Counter(document).items():
                postings[term].append((number, count))
        self.idf = {t: math.log(1 + (len(documents) - len(p) + 0.5) / (len(p) + 0.5)) for t, p in postings.items()}
        self._postings = {
            term: (np.array([n for n, _ in p]), np.array([c * 2.5 / (c + norm[n]) for n, c in p]) * self.idf[term])
            for term, p in postings.items()
        }

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of queries."""
        return embed(texts, self._model, self._cache)

    def search(self, query: str, vector: np.ndarray, limit: int = 10, allowed: np.ndarray | None = None) -> tuple[list[Passage], Evidence]:
        """Return the best passages and the evidence as the retriever reports it. `allowed` is a mask over the passages."""
        wanted = analyser().terms(query)
        keyword = np.zeros(len(self.passages))
        for term in wanted:
            if term in self._postings:
                numbers, gains = self._postings[term]
                keyword[numbers] += gains
        dense = self._vectors @ vector
        if allowed is not None:
            keyword, dense = np.where(allowed, keyword, 0.0), np.where(allowed, dense, -1.0)
        by_keyword = [int(n) for n in np.argsort(-keyword, kind="stable")[:100] if keyword[n] > 0]
        by_vector = [int(n) for n in np.argsort(-dense, kind="stable")[:100] if dense[n] > -1]
        fused = weighted((Hit(str(n), keyword[n]) for n in by_keyword), (Hit(str(n), float(dense[n])) for n in by_vector))
        best = [int(hit.id) for hit in fused[:limit]]
        terms = set(wanted)
        covered = len(terms & self.term_sets[best[0]]) / len(terms) if terms and best else 0.0
        overlap = sum(hit.in_both for hit in fused[:10])
        evidence = Evidence(float(dense[by_vector[0]]) if by_vector else None, covered, overlap)
        return [self.passages[number] for number in best], evidence


def f1(answer: str, gold: str) -> float:
    """Return the token F1 of SQuAD (Rajpurkar et al. 2016)."""
    said, wanted = _normal(answer), _normal(gold)
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def holds(text: str, span: str) -> bool:
    """Tell whether `span` stands in `text` as whole words, so that 10 is not found in 100."""
    text, span = " ".join(text.split()).casefold(), " ".join(span.split()).casefold()
    return re.search(r"(?<![\w.,])" + re.escape(span) + r"(?![\w])(?![.,]\d)", text) is not None


def _normal(text: str) -> list[str]:
    return re.sub(r"\b(?:a|an|the)\b", " ", re.sub(r"[^\w\s]", "", text.casefold())).split()


def _strings(row: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in (row.get("metadata") or {}).items()}
