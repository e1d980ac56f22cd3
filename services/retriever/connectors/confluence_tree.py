"""The pages of one space as a tree, and who may read each: a page is as restricted as all above it together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from services.chassis.telemetry import get_logger
from services.retriever.access import NOBODY, Access
from services.retriever.connectors import access_lists
from services.retriever.connectors.atlassian_api import AtlassianApi
from services.retriever.connectors.atlassian_people import group_names, user_names
from services.retriever.connectors.connector import PlaceRefused
from services.retriever.connectors.json_values import Object, at, identity, number, objects, text

log = get_logger(__name__)

AT_ONCE = 4
MAX_DEPTH = 100
MAX_NAMES = 10_000
_HIDDEN = (401, 403, 404, 405, 410)
_KINDS = {"folder": "folders", "whiteboard": "whiteboards", "database": "databases", "embed": "embeds"}


@dataclass(frozen=True)
class Page:
    """What the list of pages says of one."""

    id: str
    title: str
    parent: str
    parent_kind: str
    version: int
    webui: str


def page_of(written: Object) -> Page | None:
    """A page that is there for readers; None for drafts, archived and trashed ones, and for what is no page."""
    page_id = identity(written, "id")
    if not page_id or text(written, "status") not in ("current", ""):
        return None
    return Page(
        page_id,
        " ".join(text(written, "title").split()) or page_id,
        identity(written, "parentId"),
        text(written, "parentType") or "page",
        number(written, "version", "number") or 0,
        text(written, "_links", "webui"),
    )


class Tree:
    """The pages of a space at this visit."""

    def __init__(self, api: AtlassianApi, pages: Sequence[Page]) -> None:
        self._api = api
        self.pages = {page.id: page for page in pages}
        self._above: dict[str, Page | None] = {}
        """What is no page of the list, but stands above one: a folder, a page that may not be seen."""
        self._own: dict[str, Access | None] = {}

    async def read_restrictions(self) -> None:
        """Asks for each page, and for what stands above pages, who may read it. Raises `PlaceUnreachable`."""
        waiting = {page.parent: page.parent_kind for page in self.pages.values() if page.parent and page.parent not in self.pages}
        for _ in range(MAX_DEPTH):
            unknown = {parent: kind for parent, kind in waiting.items() if parent not in self._above and parent not in self.pages}
            if not unknown:
                break
            found = await asyncio.gather(*(self._read_above(parent, kind) for parent, kind in unknown.items()))
            self._above.update(zip(unknown, found, strict=True))
            waiting = {each.parent: each.parent_kind for each in found if each is not None and each.parent}
        free = asyncio.Semaphore(AT_ONCE)

        async def read(page_id: str) -> None:
            async with free:
                self._own[page_id] = await self._read_own(page_id)

        try:
            async with asyncio.TaskGroup() as group:
                for page_id in [*self.pages, *(above for above, page in self._above.items() if page is not None)]:
                    group.create_task(read(page_id))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def ancestors(self, page: Page) -> list[Page]:
        """What stands above a page, the outermost first, as far as it is known."""
        return self._up(page)[0][::-1]

    def access(self, page: Page) -> Access | None:
        """Who may read a page. None: nothing restricts it. NOBODY where a part of the way up cannot be read, or goes in a circle."""
        above, whole = self._up(page)
        access: Access | None = None if whole else NOBODY
        for each in (page, *above):
            access = access_lists.both(access, self._own.get(each.id, NOBODY))
        return access

    def _up(self, page: Page) -> tuple[list[Page], bool]:
        above: list[Page] = []
        met = {page.id}
        while page.parent:
            parent = self.pages.get(page.parent) or self._above.get(page.parent)
            if parent is None or parent.id in met or len(above) >= MAX_DEPTH:
                return above, False
            met.add(parent.id)
            above.append(parent)
            page = parent
        return above, True

    async def _read_above(self, above: str, kind: str) -> Page | None:
        path = _KINDS.get(kind)
        if path is None:
            return None  # a page that is not in the list: archived, or hidden from the account
        try:
            return page_of(await self._api.find(f"/api/v2/{path}/{above}", absent=_HIDDEN) or {})
        except PlaceRefused:
            return None

    async def _read_own(self, page_id: str) -> Access | None:
        """Whom a page itself restricts reading to. NOBODY when it does not say."""
        users: frozenset[str] = frozenset()
        groups: frozenset[str] = frozenset()
        start, restricted = 0, False
        while True:
            params = {"expand": "restrictions.user,restrictions.group", "start": str(start), "limit": "100"}
            try:
                said = await self._api.find(f"/rest/api/content/{page_id}/restriction/byOperation/read", params, absent=_HIDDEN)
            except PlaceRefused:
                said = None
            lists = [at(said, "restrictions", kind, "results") for kind in ("user", "group")]
            if said is None or not all(isinstance(each, list) for each in lists):
                log.warning("page_restrictions_not_told", page=page_id)
                return NOBODY
            restricted = restricted or any(lists)
            users = users.union(*(user_names(user) for user in objects(said, "restrictions", "user", "results")))
            groups = groups.union(*(group_names(group) for group in objects(said, "restrictions", "group", "results")))
            # Each of the two lists is paged; the next page is asked for while one of them was full.
            full = [len(each) for each, kind in zip(lists, ("user", "group"), strict=True) if _full(said, kind, len(each))]
            if not full or start >= MAX_NAMES:
                return access_lists.listed(users, groups) if restricted else None
            start += max(full)


def _full(said: Object, kind: str, count: int) -> bool:
    limit = number(said, "restrictions", kind, "limit")
    return bool(count) and limit is not None and count >= limit
