"""Reads the issues of Jira projects: each a ticket with its comments, and its attachments if wanted.

    list      keys, update times and what decides access, of every issue: what is gone, and what is to be read
    read      issues updated since the last visit, in pages; one by one those that changed in another way (a permission, a missed update)

The list costs one request for every hundred issues, and makes the visit right whatever the clocks and time zones of Jira do.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote

from services.chassis.errors import CorellaError
from services.chassis.telemetry import get_logger
from services.retriever.access import Access
from services.retriever.connectors import access_lists
from services.retriever.connectors.atlassian_api import AtlassianApi
from services.retriever.connectors.connector import Found, PlaceRefused, PlaceUnreachable, Seen, Unchanged, Unreadable, Visit
from services.retriever.connectors.document_types import document_type
from services.retriever.connectors.jira_access import JiraAccess
from services.retriever.connectors.jira_search import JiraSearch, Shifted
from services.retriever.connectors.jira_ticket import KEY, Ticket, attachments_of, moment, ticket_of
from services.retriever.connectors.json_values import Object, identity, number, objects, text
from services.retriever.connectors.places import JiraPlace
from services.retriever.readers import TICKET

log = get_logger(__name__)

PAGE_SIZE = 100
MAX_COMMENTS = 10_000
MAX_FAILURES = 5
"""Issues one after the other that could not be reached, after which all of Jira counts as unreachable."""
OVERLAP_MINUTES = 10
"""Of the time since the last visit: clocks differ, and JQL knows minutes only."""
_LIST_ATTEMPTS = 3
_LISTED = ("updated", "security", "project", "reporter", "assignee")
_READ = (
    "summary", "description", "status", "resolution", "resolutiondate", "reporter", "assignee", "created", "updated", "labels", "comment",
    "project", "issuetype", "priority", "parent", "security", "attachment",
)  # fmt: skip
_PROJECT_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,254}")


class IssueUnreadable(PlaceRefused):
    """An issue that is listed and is not what an issue should be."""

    reason = "ISSUE_UNREADABLE"


@dataclass(frozen=True)
class _Listed:
    key: str
    version: str
    updated: datetime | None
    readers: Access | None


class JiraConnector:
    """A `Connector` for `JiraPlace`."""

    def __init__(self, place: JiraPlace, api: AtlassianApi, max_bytes: int) -> None:
        if not place.project_keys or not all(_PROJECT_KEY.fullmatch(key) for key in place.project_keys):
            raise PlaceRefused("A Jira source names the keys of its projects, such as `OPS`.")
        if re.search(r"\border\s+by\b", place.jql, re.IGNORECASE):
            raise PlaceRefused("The JQL of a source must have no `ORDER BY`.")
        if place.api_version not in (2, 3):
            raise PlaceRefused("Jira's API has the versions 2 and 3.")
        self._place = place
        self._api = api
        self._max_bytes = max_bytes
        self._projects = frozenset(key.upper() for key in place.project_keys)
        self._root = f"/rest/api/{place.api_version}"

    async def seen(self, visit: Visit) -> AsyncGenerator[Seen]:
        """The issues, those that changed first. See `Connector.seen`."""
        # Without this a token that has run out may look like an account that sees no issue.
        await self._api.get(f"{self._root}/myself")
        since, told = _remembered("" if visit.full else visit.cursor)
        access = JiraAccess(self._api, self._place.api_version, told)
        search = JiraSearch(self._api, self._place.api_version)
        listed = await self._list(search, access)
        visit.expected = len(listed)
        attachments = _attachments_by_issue(visit)
        wanted = {key for key, each in listed.items() if visit.full or not each.version or visit.known.get(key) != each.version}
        for key in listed.keys() - wanted:
            yield Unchanged(key)
            for attachment in attachments.get(key, ()):
                yield Unchanged(attachment)
        failures = 0
        async for key, issue in self._wanted(search, set(wanted), len(listed), since):
            try:
                async for seen in self._issue(issue or await self._get(key), access, visit):
                    yield seen
                failures = 0
            except _Gone:
                continue
            except CorellaError as error:
                failures = failures + 1 if isinstance(error, PlaceUnreachable) else 0
                if failures >= MAX_FAILURES:
                    raise
                readers = listed[key].readers
                yield Unreadable(key, self._uri(key), error, readers)
                for attachment in attachments.get(key, ()):
                    yield Unchanged(attachment, readers)
        latest = max((each.updated for each in listed.values() if each.updated), default=None)
        visit.next_cursor = " ".join([(latest or since or datetime.fromtimestamp(0, UTC)).isoformat(), *sorted(access.told)])
        visit.complete = True

    async def close(self) -> None:
        """Closes connections."""
        await self._api.close()

    async def _list(self, search: JiraSearch, access: JiraAccess) -> dict[str, _Listed]:
        for attempt in range(1, _LIST_ATTEMPTS + 1):
            listed: dict[str, _Listed] = {}
            try:
                async for issue in search.issues(self._jql(), _LISTED, PAGE_SIZE):
                    key = text(issue, "key")
                    if self._ours(key):
                        updated = moment(text(issue, "fields", "updated"))
                        readers = await access.of(issue)
                        listed[key] = _Listed(key, _version(issue, readers), updated, readers)
                return listed
            except Shifted:
                if attempt == _LIST_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def _wanted(
        self, search: JiraSearch, wanted: set[str], of: int, since: datetime | None
    ) -> AsyncGenerator[tuple[str, Object | None]]:
        """The issues to read, in pages as far as a search finds them, and then by key alone."""
        since = None if len(wanted) * 2 > of else since
        if wanted and (since or len(wanted) * 2 > of):
            jql = self._jql(f'updated >= "-{_minutes_since(since)}m"' if since else "")
            try:
                async for issue in search.issues(jql, _READ, PAGE_SIZE // 2):
                    key = text(issue, "key")
                    if key in wanted:
                        wanted.discard(key)
                        yield key, issue
            except Shifted:
                log.info("issues_shifted", left=len(wanted))
        for key in sorted(wanted):
            yield key, None

    async def _get(self, key: str) -> Object:
        issue = await self._api.find(f"{self._root}/issue/{quote(key)}", {"fields": ",".join(_READ)})
        if issue is None or text(issue, "key") != key:
            raise _Gone
        if not isinstance(issue, dict):
            raise IssueUnreadable(f"The issue {key} is not described as an issue.")
        return issue

    async def _issue(self, issue: Object, access: JiraAccess, visit: Visit) -> AsyncGenerator[Seen]:
        readers = await access.of(issue)
        try:
            ticket = await asyncio.to_thread(ticket_of, issue, await self._comments(issue), self._api.base_url)
        except ValueError as exc:
            raise IssueUnreadable(f"An issue cannot be read: {exc}.") from exc
        if ticket.restricted_comments:
            log.info("restricted_comments_left_out", issue=ticket.key, count=ticket.restricted_comments)
        version = _version(issue, readers)
        yield Found(ticket.key, version, ticket.uri, ticket.title, TICKET, ticket.content, ticket.metadata, readers)
        if self._place.include_attachments:
            for attachment in attachments_of(issue):
                async for seen in self._attachment(attachment, ticket, readers, visit):
                    yield seen

    async def _attachment(self, attachment: Object, ticket: Ticket, access: Access | None, visit: Visit) -> AsyncGenerator[Seen]:
        number_, name = identity(attachment, "id"), text(attachment, "filename").strip()
        mime_type = document_type(text(attachment, "mimeType"), name)
        if mime_type is None:
            return
        key = f"{ticket.key}/attachment/{number_}"
        version = f"{number(attachment, 'size')}:{text(attachment, 'created')[:40]}:{_digest(access)}"
        uri = f"{self._api.base_url}/secure/attachment/{number_}/{quote(name, safe='')}"
        if not visit.full and visit.known.get(key) == version:
            yield Unchanged(key)
            return
        try:
            answer = await self._api.download(f"{self._root}/attachment/content/{number_}", self._max_bytes)
        except CorellaError as error:
            yield Unreadable(key, uri, error, access)
            return
        metadata = {"project": ticket.metadata.get("project", ""), "ticket": ticket.key}
        yield Found(key, version, uri, name[:200], mime_type, answer.content, metadata, access)

    async def _comments(self, issue: Object) -> list[Object]:
        """All comments: those that came with the issue, or, where they were not all, page by page."""
        came = objects(issue, "fields", "comment", "comments")
        total = number(issue, "fields", "comment", "total")
        if total is not None and len(came) >= total:
            return came
        comments: list[Object] = []
        while len(comments) < MAX_COMMENTS:
            path = f"{self._root}/issue/{quote(text(issue, 'key'))}/comment"
            page = await self._api.get(path, {"startAt": str(len(comments)), "maxResults": "100", "orderBy": "created"})
            values = objects(page, "comments")
            comments += values
            if not values or len(comments) >= (number(page, "total") or 0):
                break
        return comments

    def _jql(self, condition: str = "") -> str:
        keys = ",".join(f'"{key}"' for key in sorted(self._projects))
        parts = [f"project in ({keys})", f"({self._place.jql.strip()})" if self._place.jql.strip() else "", condition]
        return " AND ".join(filter(None, parts)) + " ORDER BY key ASC"

    def _ours(self, key: str) -> bool:
        """Whether an issue is of the source's projects, whatever its JQL lets through."""
        return bool(KEY.fullmatch(key)) and key.rpartition("-")[0] in self._projects

    def _uri(self, key: str) -> str:
        return f"{self._api.base_url}/browse/{quote(key)}"


class _Gone(Exception):
    """An issue that was listed a moment ago and is not there any more."""


def _version(issue: Object, access: Access | None) -> str:
    updated = text(issue, "fields", "updated")
    return f"{updated[:40]}:{_digest(access)}" if updated else ""


def _digest(access: Access | None) -> str:
    return sha256(access_lists.written(access).encode()).hexdigest()[:16]


def _remembered(cursor: str) -> tuple[datetime | None, frozenset[str]]:
    """When the last visit's newest issue was updated, and which projects said then who may browse them."""
    written, *told = cursor.split(" ")
    return moment(written), frozenset(told)


def _minutes_since(since: datetime) -> int:
    return max(0, int((datetime.now(UTC) - since).total_seconds() // 60)) + OVERLAP_MINUTES


def _attachments_by_issue(visit: Visit) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key in visit.known:
        issue, mark, _ = key.partition("/attachment/")
        if mark:
            found.setdefault(issue, []).append(key)
    return found
