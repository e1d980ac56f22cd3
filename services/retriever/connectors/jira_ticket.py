"""An issue as Jira's REST API gives it, to a ticket as `ticket_reader` reads it (docs/tickets.md). Pure; nothing of the JSON is trusted.

Left out are comments that only some may read (a `visibility`, or those of a service desk that are not public): a document is readable as
a whole or not at all, so what fewer may read cannot be in it. The time of the last update is left out too: it would change the text of
the description with every comment, and have it embedded anew.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from services.retriever.connectors.atlassian_document import adf_text
from services.retriever.connectors.json_values import Object, at, identity, objects, strings, text
from services.retriever.connectors.wiki_markup import wiki_text

KEY = re.compile(r"[A-Z][A-Z0-9_]{0,254}-[0-9]{1,12}")
MIN_SOLUTION_CHARS = 20
_AFTER_RESOLVING = timedelta(days=1)
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Ticket:
    """What is taken over of one issue."""

    key: str
    title: str
    uri: str
    content: bytes
    """JSON of the type `application/vnd.corella.ticket+json`."""
    metadata: dict[str, str]
    restricted_comments: int = 0
    """Left out, because not everybody who may read the issue may read them."""


@dataclass
class _Comment:
    id: str
    author: str
    account: str
    created: str
    body: str
    url: str
    at: datetime = field(default=_EARLIEST)


def ticket_of(issue: Object, comments: list[Object], base_url: str) -> Ticket:
    """The ticket. `comments`: all of them, as the API gives them. Raises ValueError for an issue without a usable key."""
    key = text(issue, "key")
    if not KEY.fullmatch(key):
        raise ValueError("it has no key")
    fields = issue.get("fields")
    url = f"{base_url}/browse/{quote(key)}"
    summary = " ".join(text(fields, "summary").split()) or key
    kept: list[_Comment] = []
    restricted = 0
    for written in comments:
        if at(written, "visibility") is not None or at(written, "jsdPublic") is False:
            restricted += 1
            continue
        comment = _comment(written, url)
        if comment is not None and comment.id not in {other.id for other in kept[-50:]}:
            kept.append(comment)
    kept.sort(key=lambda comment: comment.at)
    solution = _solution(fields, kept)
    ticket: Object = {
        "key": key,
        "summary": summary,
        "description": body_text(at(fields, "description")),
        "url": url,
        "project": text(fields, "project", "key"),
        "state": _state(fields),
        "reporter": text(fields, "reporter", "displayName"),
        "assignee": text(fields, "assignee", "displayName"),
        "created": _when(text(fields, "created")),
        "labels": [label for label in strings(fields, "labels") if label.strip()],
        "comments": [_written(comment, with_id=True) for comment in kept if comment is not solution],
        "solution": _written(solution, with_id=False) if solution else None,
    }
    metadata = {
        "project": ticket["project"], "project_name": text(fields, "project", "name"), "state": text(fields, "status", "name"),
        "type": text(fields, "issuetype", "name"), "priority": text(fields, "priority", "name"),
        "parent": text(fields, "parent", "key"),
    }  # fmt: skip
    content = json.dumps(ticket, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="replace")
    return Ticket(key, f"{key}: {summary}", url, content, {name: value[:500] for name, value in metadata.items() if value}, restricted)


def body_text(body: Any) -> str:
    """A body: wiki markup in version 2 of the API, Atlassian Document Format in version 3."""
    if isinstance(body, str):
        return wiki_text(body)
    return adf_text(body)


def moment(written: str) -> datetime | None:
    """A time as Jira writes it (`2015-12-07T14:19:13.000-0800`); None for anything else."""
    try:
        found = datetime.fromisoformat(re.sub(r"([+-][0-9]{2})([0-9]{2})$", r"\1:\2", written))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _comment(written: Object, url: str) -> _Comment | None:
    comment_id, body = identity(written, "id"), body_text(written.get("body"))
    if not comment_id or len(comment_id) > 64 or not body.strip():
        return None
    created = text(written, "created")
    return _Comment(
        comment_id,
        text(written, "author", "displayName"),
        account_of(written.get("author")),
        _when(created),
        body,
        f"{url}?focusedCommentId={comment_id}",
        moment(created) or _EARLIEST,
    )


def _solution(fields: Any, comments: list[_Comment]) -> _Comment | None:
    """What solved a resolved issue: the last word of its assignee until a day after it was resolved.

    Jira has no field for it. Without an assignee, or a word of theirs that says something, there is none.
    """
    resolved = moment(text(fields, "resolutiondate"))
    assignee = account_of(at(fields, "assignee"))
    if at(fields, "resolution") is None or resolved is None or not assignee:
        return None
    said = [
        comment for comment in comments
        if comment.account == assignee and comment.at <= resolved + _AFTER_RESOLVING and len(comment.body) >= MIN_SOLUTION_CHARS
    ]  # fmt: skip
    return said[-1] if said else None


def account_of(person: Any) -> str:
    """What names an account: its id in the cloud, its key or name on a server of one's own."""
    return text(person, "accountId") or text(person, "key") or text(person, "name")


def _state(fields: Any) -> str:
    state, resolution = text(fields, "status", "name"), text(fields, "resolution", "name")
    return f"{state} ({resolution})" if state and resolution and resolution.lower() != state.lower() else state or resolution


def _when(written: str) -> str:
    found = moment(written)
    return found.strftime("%Y-%m-%dT%H:%M:%SZ") if found else ""


def _written(comment: _Comment, with_id: bool) -> Object:
    said = {"author": comment.author, "created": comment.created, "body": comment.body, "url": comment.url}
    return {"id": comment.id, **said} if with_id else said


def attachments_of(issue: Object) -> list[Object]:
    """The attachments that have an id and a name."""
    return [each for each in objects(issue, "fields", "attachment") if identity(each, "id") and text(each, "filename").strip()]
