"""Reads sets of questions with gold answers and gold sources, answerable or not.

Two forms are known: a folder with `questions.jsonl` beside its documents (as `samples/` is), and a BEIR set whose query metadata carry
`answers` and `is_impossible` (SQuAD 2.0).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from corella.evaluation.beir import TestDocument, TestSetInvalid, load

_MIME_TYPES = {
    ".md": "text/markdown",
    ".html": "text/html",
    ".txt": "text/plain",
    ".json": "application/vnd.corella.ticket+json",
}


@dataclass(frozen=True)
class Source:
    """A place that holds the answer: a document, and within it a section (any when `anchor` is None)."""

    document: str
    anchor: str | None = None
    own_uri: str = ""
    """Address the document gives itself (tickets), under which it may be cited as well."""

    def is_cited_by(self, uri: str) -> bool:
        """Whether a citation with this URI points here."""
        parts = urlsplit(uri)
        bare = unquote(parts._replace(fragment="").geturl())
        return (bare.endswith("/" + self.document) or bare == self.own_uri) and self.anchor in (None, unquote(parts.fragment))


@dataclass(frozen=True)
class Question:
    """A question with its gold."""

    id: str
    text: str
    answers: tuple[str, ...]
    sources: tuple[Source, ...]
    answerable: bool
    history: tuple[str, ...] = ()
    """Questions to ask before it in the same conversation."""


@dataclass(frozen=True)
class QuestionSet:
    """Questions and the documents they are about."""

    name: str
    folder: Path
    questions: tuple[Question, ...]

    def documents(self) -> Iterator[TestDocument]:
        """The documents, read one at a time."""
        if (self.folder / "questions.jsonl").is_file():
            for path in sorted(self.folder.rglob("*")):
                is_document = path.suffix in _MIME_TYPES and path.name != "README.md"
                if path.is_file() and is_document:
                    yield TestDocument(path.relative_to(self.folder).as_posix(), "", path.read_bytes(), _MIME_TYPES[path.suffix])
        else:
            yield from load(self.folder).documents()


def load_questions(folder: Path, *, max_questions: int | None = None, seed: int = 13) -> QuestionSet:
    """Reads a set; with `max_questions` a fixed random sample. Raises `TestSetInvalid`."""
    if (folder / "questions.jsonl").is_file():
        questions = _own_form(folder)
    elif (folder / "queries.jsonl").is_file():
        questions = _squad_form(folder)
    else:
        raise TestSetInvalid(f"{folder} holds neither questions.jsonl nor queries.jsonl")
    if max_questions is not None and len(questions) > max_questions:
        questions = random.Random(seed).sample(questions, max_questions)  # noqa: S311 a repeatable sample, not a secret
    return QuestionSet(folder.name or folder.resolve().name, folder, tuple(questions))


def _own_form(folder: Path) -> list[Question]:
    questions = []
    for line in (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        sources = tuple(Source(s["path"], s["anchor"], _own_uri(folder / s["path"])) for s in entry["sources"])
        history = tuple(turn["question"] for turn in entry.get("history", ()))
        answers = (entry["answer"], *entry.get("answer_aliases", ()))
        questions.append(Question(entry["id"], entry["question"], answers, sources, entry["answerable"], history))
    return questions


def _own_uri(path: Path) -> str:
    return json.loads(path.read_text(encoding="utf-8")).get("url", "") if path.suffix == ".json" else ""


def _squad_form(folder: Path) -> list[Question]:
    questions = []
    for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        metadata = entry.get("metadata", {})
        if "answers" not in metadata:
            raise TestSetInvalid(f"{folder}: query {entry['_id']} has no gold answers")
        answerable = not metadata.get("is_impossible", False)
        sources = (Source(metadata["paragraph_id"]),) if answerable and "paragraph_id" in metadata else ()
        questions.append(Question(str(entry["_id"]), entry["text"], tuple(metadata["answers"]), sources, answerable))
    return questions
