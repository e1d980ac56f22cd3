"""The sample documents, tickets and questions agree with each other."""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from bs4 import BeautifulSoup
from bs4.element import NavigableString, Tag
from markdown_it import MarkdownIt

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
PAGES = sorted(p for p in (SAMPLES / "pages").rglob("*") if p.suffix in {".md", ".html"})
TICKETS = sorted((SAMPLES / "tickets").glob("*.json"))
QUESTIONS: list[dict[str, Any]] = [
    json.loads(line) for line in (SAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines() if line.strip()
]
ANSWERABLE = [q for q in QUESTIONS if q["answerable"]]
UNANSWERABLE = [q for q in QUESTIONS if not q["answerable"]]

KINDS = {"fact", "table", "procedure", "policy", "ticket", "follow-up"}
STATES = {"New", "In progress", "Waiting", "Resolved", "Closed"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
UNKNOWN = "I do not know."


def slug(text: str) -> str:
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def normalise(text: str) -> str:
    return " ".join(text.split()).casefold()


def holds(text: str, span: str) -> bool:
    """True if span stands in text as whole words, so that 10 is not found in 100."""
    pattern = r"(?<![\w.,])" + re.escape(normalise(span)) + r"(?![\w])(?![.,]\d)"
    return re.search(pattern, normalise(text)) is not None


def html_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return str(MarkdownIt("commonmark").enable("table").render(text))
    return text


@cache
def sections(path: Path) -> list[tuple[str, str]]:
    """(anchor, own text) of each heading of a page, or of each part of a ticket."""
    if path.suffix == ".json":
        ticket = json.loads(path.read_text(encoding="utf-8"))
        parts = [("description", ticket["description"])]
        parts += [(f"comment-{c['id']}", c["body"]) for c in ticket["comments"]]
        if ticket["solution"] is not None:
            parts.append(("solution", ticket["solution"]["body"]))
        return parts
    found: list[tuple[str, list[str]]] = []
    for node in BeautifulSoup(html_of(path), "html.parser").descendants:
        if isinstance(node, Tag) and node.name in HEADINGS:
            anchor = str(node.get("id") or slug(node.get_text()))
            found.append((anchor, []))
        elif isinstance(node, NavigableString) and found and not node.find_parent(list(HEADINGS)):
            found[-1][1].append(str(node))
    return [(anchor, " ".join(parts)) for anchor, parts in found]


def name(path: Path) -> str:
    return path.relative_to(SAMPLES).as_posix()


def test_counts() -> None:
    assert len(PAGES) >= 25
    assert sum(p.suffix == ".html" for p in PAGES) >= 8
    assert len(TICKETS) >= 12
    assert len(QUESTIONS) >= 40
    assert len(UNANSWERABLE) >= 8
    assert sum(q["kind"] == "follow-up" for q in QUESTIONS) >= 4
    assert {q["kind"] for q in QUESTIONS} == KINDS


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_page_has_distinct_anchors_and_a_title(path: Path) -> None:
    anchors = [anchor for anchor, _ in sections(path)]
    assert len(anchors) >= 4
    assert len(set(anchors)) == len(anchors)
    assert all(anchors)
    soup = BeautifulSoup(html_of(path), "html.parser")
    assert len(soup.find_all("h1")) == 1
    words = len(soup.get_text(" ").split())
    assert 200 <= words <= 700


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_relative_links_lead_to_pages(path: Path) -> None:
    for link in BeautifulSoup(html_of(path), "html.parser").find_all("a", href=True):
        target = urlsplit(str(link["href"]))
        if target.scheme:
            continue
        page = (path.parent / target.path).resolve() if target.path else path
        assert page in PAGES, link["href"]
        if target.fragment:
            assert target.fragment in [anchor for anchor, _ in sections(page)], link["href"]


@pytest.mark.parametrize("path", TICKETS, ids=name)
def test_ticket_schema(path: Path) -> None:
    ticket = json.loads(path.read_text(encoding="utf-8"))
    texts = {"key", "project", "summary", "description", "state", "created", "updated"}
    texts |= {"reporter", "assignee", "url"}
    assert set(ticket) == texts | {"labels", "comments", "solution"}
    assert all(isinstance(ticket[field], str) and ticket[field] for field in texts)
    assert ticket["key"] == path.stem
    assert ticket["key"].startswith(ticket["project"] + "-")
    assert ticket["state"] in STATES
    assert ticket["url"] == f"https://support.hollinmere.example/tickets/{ticket['key']}"
    assert ticket["labels"]
    assert all(isinstance(label, str) for label in ticket["labels"])
    assert ticket["comments"]
    for comment in ticket["comments"]:
        assert set(comment) == {"id", "author", "created", "body"}
        assert all(isinstance(value, str) and value for value in comment.values())
    if ticket["state"] in {"Resolved", "Closed"}:
        assert set(ticket["solution"]) == {"author", "created", "body"}
        assert all(isinstance(value, str) and value for value in ticket["solution"].values())
    else:
        assert ticket["solution"] is None
    entries = ticket["comments"] + ([ticket["solution"]] if ticket["solution"] else [])
    times = [ticket["created"], *(entry["created"] for entry in entries), ticket["updated"]]
    moments = [datetime.fromisoformat(time.replace("Z", "+00:00")) for time in times]
    assert moments == sorted(moments)


def test_ids_are_distinct() -> None:
    tickets = [json.loads(p.read_text(encoding="utf-8")) for p in TICKETS]
    comments = [c["id"] for t in tickets for c in t["comments"]]
    assert len(set(comments)) == len(comments)
    ids = [q["id"] for q in QUESTIONS]
    assert len(set(ids)) == len(ids)
    asked = [(q["question"], json.dumps(q["history"])) for q in QUESTIONS]
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q["id"])
def test_question_schema(question: dict[str, Any]) -> None:
    assert set(question) == {
        "id",
        "question",
        "answer",
        "answer_aliases",
        "sources",
        "answerable",
        "kind",
        "history",
    }
    assert question["kind"] in KINDS
    assert question["question"].endswith("?")
    assert (question["kind"] == "follow-up") == bool(question["history"])
    assert all(set(turn) == {"question", "answer"} for turn in question["history"])
    assert 1 <= len(question["answer"].split()) <= 12
    assert question["answerable"] == bool(question["sources"])
    assert question["answerable"] == (question["answer"] != UNKNOWN)
    assert all(set(source) == {"path", "anchor"} for source in question["sources"])


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda q: q["id"])
def test_answer_stands_in_every_source(question: dict[str, Any]) -> None:
    for source in question["sources"]:
        path = SAMPLES / source["path"]
        assert path in PAGES or path in TICKETS, source
        parts = dict(sections(path))
        assert source["anchor"] in parts, source
        spans = [question["answer"], *question["answer_aliases"]]
        assert any(holds(parts[source["anchor"]], span) for span in spans), source


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        ("The limit is 10 seats.", "10", True),
        ("The limit is 100 seats.", "10", False),
        ("It costs £1,200.", "200", False),
        ("Use firmware 4.0.5.", "4.0.5", True),
        ("Use firmware 4.0.5.", "4.0", False),
        ("Dry at 105 °C\nfor 24 hours.", "105 °C for 24 hours", True),
    ],
)
def test_holds(text: str, span: str, expected: bool) -> None:
    assert holds(text, span) is expected
