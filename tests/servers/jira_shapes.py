"""Between the ways an issue is written: wiki markup, Atlassian Document Format, and lines of normalised JSON. And a little JQL."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any


def adf_of(body: Any) -> Any:
    """A body for version 3 of the API: what is text becomes paragraphs."""
    if not isinstance(body, str):
        return body
    paragraphs = [part for part in re.split(r"\n\s*\n", body) if part.strip()]
    return {
        "type": "doc", "version": 1,
        "content": [{"type": "paragraph", "content": _lines(paragraph)} for paragraph in paragraphs],
    }  # fmt: skip


def _lines(paragraph: str) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = []
    for line in paragraph.split("\n"):
        nodes += [{"type": "hardBreak"}] * bool(nodes) + ([{"type": "text", "text": line}] if line else [])
    return nodes


def wiki_of(body: Any) -> Any:
    """A body for version 2: of a document its text alone."""
    if body is None or isinstance(body, str):
        return body
    blocks = [_text(block) for block in body.get("content", ())]
    return "\n\n".join(block for block in blocks if block)


def _text(node: dict[str, Any]) -> str:
    if "text" in node:
        return str(node["text"])
    return "".join(_text(child) for child in node.get("content", ())) or str(node.get("attrs", {}).get("text", ""))


def matches(issue: dict[str, Any], jql: str, now: datetime) -> bool:
    """Whether an issue matches `project in (…) AND labels = x AND status = "y" AND updated >= "-5m"`."""
    fields = issue["fields"]
    projects = re.search(r"project in \(([^)]*)\)", jql)
    if projects and fields["project"]["key"] not in re.findall(r'"([^"]+)"', projects.group(1)):
        return False
    for label in re.findall(r"labels = ([\w-]+)", jql):
        if label not in fields.get("labels", ()):
            return False
    for state in re.findall(r'status = "([^"]+)"', jql):
        if (fields.get("status") or {}).get("name") != state:
            return False
    for minutes in re.findall(r'updated >= "-(\d+)m"', jql):
        since = (now - timedelta(minutes=int(minutes))).replace(second=0, microsecond=0)
        if datetime.strptime(fields["updated"], "%Y-%m-%dT%H:%M:%S.%f%z") < since:
            return False
    return True


def issue_of_line(line: dict[str, Any], number: int) -> dict[str, Any]:
    """An issue from a line of normalised JSON: issue_id, project, title, status, reporter, assignee, created, updated, comments."""
    comments = [
        {"id": str(1_000_000 + number * 1_000 + place), "created": line["created"], "updated": line["updated"], "body": body}
        for place, body in enumerate(line["comments"])
    ]
    people = {
        role: {"accountId": line[role], "displayName": line[role], "active": True} if line.get(role) else None
        for role in ("reporter", "assignee")
    }
    closed = line["status"] in ("Closed", "Resolved")
    return {
        "id": str(10_000 + number), "key": line["issue_id"],
        "fields": {
            "summary": line["title"], "description": line["description"], "project": {"key": line["project"], "name": line["project"]},
            "status": {"name": line["status"]}, "priority": {"name": line["priority"]}, "labels": [], **people,
            "resolution": {"name": "Done"} if closed else None, "resolutiondate": line["updated"] if closed else None,
            "created": line["created"], "updated": line["updated"], "comment": {"comments": comments},
        },
    }  # fmt: skip
