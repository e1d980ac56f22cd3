"""Tickets: description, each comment, and the solution are sections of their own. The JSON is described in docs/tickets.md."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from services.chassis.errors import Violation
from services.retriever.structure import MAX_HEADING_CHARS, DocumentUnreadable, Section, StructuredDocument, clip
from services.retriever.text_reader import clean, decode, paragraphs

_COMMENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUERY = re.compile(r"\?[A-Za-z0-9_.~-]{1,50}=[A-Za-z0-9_.~-]{1,100}")
_FACTS = (
    ("state", "State"), ("project", "Project"), ("reporter", "Reporter"), ("assignee", "Assignee"),
    ("created", "Created"), ("updated", "Updated"), ("labels", "Labels"),
)  # fmt: skip
MAX_URI_CHARS = 2000


def read_ticket(content: bytes) -> StructuredDocument:
    """Raises DocumentUnreadable for what is no JSON or no ticket; it lists every violation."""
    try:
        ticket = json.loads(decode(content))
    except (ValueError, RecursionError) as exc:
        what = "is nested too deeply" if isinstance(exc, RecursionError) else f"is not valid JSON: {exc}"
        raise DocumentUnreadable(f"The ticket {what}.") from exc
    violations = _violations(ticket)
    if violations:
        raise DocumentUnreadable.of(violations, reason=DocumentUnreadable.reason)
    title = clip(f"{_line(ticket['key'])}: {_line(ticket['summary'])}", MAX_HEADING_CHARS)
    sections = [_section((title,), "description", ticket.get("description") or "", "description", _facts(ticket))]
    for comment in ticket.get("comments") or ():
        path = (title, clip("Comment" + _by(comment), MAX_HEADING_CHARS))
        sections.append(_section(path, _own_query(comment, ticket) or f"comment-{comment['id']}", comment["body"], "comment"))
    solution = ticket.get("solution")
    if solution:
        path = (title, clip("Solution" + _by(solution), MAX_HEADING_CHARS))
        sections.append(_section(path, _own_query(solution, ticket) or "solution", solution["body"], "solution"))
    return StructuredDocument(title=title, sections=tuple(s for s in sections if s.blocks), uri=_web_address(ticket.get("url")))


def _section(path: tuple[str, ...], anchor: str, body: str, kind: str, facts: str = "") -> Section:
    blocks = paragraphs(clean(body))
    return Section(path, anchor, tuple(blocks + [facts] * bool(facts)), kind)


def _facts(ticket: dict[str, Any]) -> str:
    """What the ticket says about itself, as one line that can be found: who, when, in which state."""
    said = []
    for field, name in _FACTS:
        value = ticket.get(field)
        text = ", ".join(map(_line, value)) if isinstance(value, list) else _line(value or "")
        if text:
            said.append(f"{name}: {text}.")
    return " ".join(said)


def _by(entry: dict[str, Any]) -> str:
    author, created = _line(entry.get("author") or ""), _line(entry.get("created") or "")
    return (f" by {author}" if author else "") + (f", {created[:10]}" if created else "")


def _line(text: str) -> str:
    return " ".join(clean(text).split())


def _web_address(url: str | None) -> str:
    """The ticket's own address if a person can click it: http or https, with a host, no credentials and no blanks."""
    address = clean(url or "").strip()
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    except ValueError:
        return ""
    return address if usable and len(address) <= MAX_URI_CHARS and not re.search(r"\s", address) else ""


def _own_query(part: dict[str, Any], ticket: dict[str, Any]) -> str:
    """The query, with its `?`, that leads to a part of the ticket, if its `url` is the ticket's own with one; else empty."""
    url, own = part.get("url"), ticket.get("url")
    if not isinstance(url, str) or not own or not _web_address(own) or not url.startswith(own + "?"):
        return ""
    query = url.removeprefix(own)
    return query if _QUERY.fullmatch(query) else ""


def _violations(ticket: Any) -> list[Violation]:
    if not isinstance(ticket, dict):
        return [("", "a ticket is a JSON object")]
    found: list[Violation] = []

    def text(where: str, holder: dict[str, Any], field: str, required: bool = False) -> None:
        value = holder.get(field)
        if (required and value is None) or (value is not None and not isinstance(value, str)):
            found.append((where + field, "must be a string"))
        elif required and value is not None and not _line(value):
            found.append((where + field, "must not be empty"))

    text("", ticket, "key", required=True)
    text("", ticket, "summary", required=True)
    for field in ("description", "state", "project", "reporter", "assignee", "created", "updated", "url"):
        text("", ticket, field)
    labels = ticket.get("labels")
    if labels is not None and not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        found.append(("labels", "must be a list of strings"))
    comments = ticket.get("comments")
    if comments is not None and not isinstance(comments, list):
        found.append(("comments", "must be a list"))
        comments = None
    ids: set[str] = set()
    for number, comment in enumerate(comments or ()):
        where = f"comments[{number}]"
        if not isinstance(comment, dict):
            found.append((where, "must be an object"))
            continue
        identity = comment.get("id")
        if not isinstance(identity, str) or not _COMMENT_ID.fullmatch(identity):
            found.append((f"{where}.id", "must be a string of 1 to 64 letters, digits, '.', '_' and '-'"))
        elif identity in ids:
            found.append((f"{where}.id", f"{identity} is the id of an earlier comment"))
        else:
            ids.add(identity)
        text(where + ".", comment, "body", required=True)
        text(where + ".", comment, "author")
        text(where + ".", comment, "created")
        text(where + ".", comment, "url")
    solution = ticket.get("solution")
    if solution is not None and not isinstance(solution, dict):
        found.append(("solution", "must be an object or null"))
    elif solution is not None:
        text("solution.", solution, "body", required=True)
        text("solution.", solution, "author")
        text("solution.", solution, "created")
        text("solution.", solution, "url")
    return found
