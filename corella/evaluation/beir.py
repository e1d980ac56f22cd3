"""Reads retrieval test sets in the form of the BEIR benchmark (Thakur et al., NeurIPS 2021).

A set is a folder with `queries.jsonl` ({_id, text, metadata}), `qrels.tsv` (query-id, corpus-id, score) and the documents: either
`corpus.jsonl` ({_id, title, text}) or a folder `markdown/` whose files' relative paths are the ids.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TestDocument:
    """A document of a test set."""

    __test__ = False  # keeps pytest from taking the class for a test

    id: str
    title: str
    content: bytes
    mime_type: str


@dataclass(frozen=True)
class Query:
    """A query of a test set, with what the set says of it."""

    id: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


class TestSetInvalid(Exception):
    """The folder is not a test set; the text says what is missing."""

    __test__ = False


@dataclass(frozen=True)
class TestSet:
    """A folder of documents, queries and judgements."""

    __test__ = False

    name: str
    folder: Path
    queries: tuple[Query, ...]
    judgements: dict[str, dict[str, int]]
    """query id -> document id -> grade; grades of 1 and more are relevant."""

    def documents(self) -> Iterator[TestDocument]:
        """The documents, read one at a time."""
        corpus = self.folder / "corpus.jsonl"
        if corpus.is_file():
            for line in corpus.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                text = entry["text"].strip() or entry.get("title", "").strip()
                if text:
                    yield TestDocument(str(entry["_id"]), entry.get("title", "").strip(), text.encode(), "text/plain")
            return
        root = self.folder / "markdown"
        for path in sorted(root.rglob("*.md")):
            yield TestDocument(path.relative_to(root).as_posix(), "", path.read_bytes(), "text/markdown")


def load(folder: Path, *, max_queries: int | None = None, seed: int = 13) -> TestSet:
    """Reads a set; with `max_queries` a fixed random sample of its judged queries. Raises `TestSetInvalid`."""
    for name in ("queries.jsonl", "qrels.tsv"):
        if not (folder / name).is_file():
            raise TestSetInvalid(f"{folder} is not a test set: it has no {name}")
    if not (folder / "corpus.jsonl").is_file() and not (folder / "markdown").is_dir():
        raise TestSetInvalid(f"{folder} is not a test set: it has neither corpus.jsonl nor markdown/")
    judgements: dict[str, dict[str, int]] = {}
    with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            judgements.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    entries = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    queries = [Query(str(e["_id"]), e["text"], e.get("metadata", {})) for e in entries if str(e["_id"]) in judgements]
    if max_queries is not None and len(queries) > max_queries:
        queries = random.Random(seed).sample(queries, max_queries)  # noqa: S311 a repeatable sample, not a secret
    return TestSet(folder.name, folder, tuple(queries), {query.id: judgements[query.id] for query in queries})
