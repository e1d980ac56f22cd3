"""Reads the pages of Confluence spaces, with their place in the tree, and their attachments if wanted.

list         the pages of a space without their bodies: what is gone, what changed, who stands above whom
restrictions one request for each page, since a restriction changes without a new version of the page
read         all bodies in pages at the first visit; later only those of pages that changed, one by one
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote

from services.chassis.errors import CorellaError
from services.retriever.access import Access
from services.retriever.connectors import access_lists
from services.retriever.connectors.atlassian_api import AtlassianApi
from services.retriever.connectors.confluence_tree import Page, Tree, page_of
from services.retriever.connectors.connector import Found, PlaceRefused, PlaceUnreachable, Seen, Unchanged, Unreadable, Visit
from services.retriever.connectors.document_types import document_type
from services.retriever.connectors.json_values import Object, at, identity, number, objects, text
from services.retriever.connectors.places import ConfluencePlace
from services.retriever.connectors.storage_format import page_html
from services.retriever.readers import HTML

LIST_PAGE_SIZE = 250
BODY_PAGE_SIZE = 50
MAX_FAILURES = 5
MAX_API_PAGES = 20_000
_SPACE_KEY = re.compile(r"~?[A-Za-z0-9._:-]{1,255}")


class PageUnreadable(PlaceRefused):
    """A page that is listed and whose body is not there."""

    reason = "PAGE_UNREADABLE"


@dataclass(frozen=True)
class _Space:
    id: str
    key: str
    name: str


class ConfluenceConnector:
    """A `Connector` for `ConfluencePlace`."""

    def __init__(self, place: ConfluencePlace, api: AtlassianApi, max_bytes: int) -> None:
        if not place.space_keys or not all(_SPACE_KEY.fullmatch(key) for key in place.space_keys):
            raise PlaceRefused("A Confluence source names the keys of its spaces, such as `DOCS`.")
        self._place = place
        self._api = api
        self._max_bytes = max_bytes

    async def seen(self, visit: Visit) -> AsyncGenerator[Seen]:
        """The pages, space by space. Raises `PlaceRefused` when one of the spaces is not there, so that none of its pages is lost."""
        failures = 0
        for space in await self._spaces():
            tree = Tree(self._api, [page async for page in self._list(space)])
            visit.expected = (visit.expected or 0) + len(tree.pages)
            await tree.read_restrictions()
            versions = {page.id: _version(page, tree) for page in tree.pages.values()}
            wanted = {page_id for page_id, version in versions.items() if visit.full or visit.known.get(page_id) != version}
            for page_id in tree.pages.keys() - wanted:
                yield Unchanged(page_id)
            async for page, body in self._bodies(space, tree, wanted):
                try:
                    if body is None:
                        body = await self._body(page.id)  # noqa: PLW2901 what came with the list, else asked for
                    yield await asyncio.to_thread(self._found, space, page, body, tree)
                    failures = 0
                except CorellaError as error:
                    failures = failures + 1 if isinstance(error, PlaceUnreachable) else 0
                    if failures >= MAX_FAILURES:
                        raise
                    yield Unreadable(page.id, self._uri(space, page), error, tree.access(page))
            if self._place.include_attachments:
                for page in tree.pages.values():
                    async for seen in self._attachments(space, page, tree.access(page), visit):
                        yield seen
        visit.complete = True

    async def close(self) -> None:
        """Closes connections."""
        await self._api.close()

    async def _spaces(self) -> list[_Space]:
        keys = list(dict.fromkeys(self._place.space_keys))
        found: dict[str, _Space] = {}
        async for written in self._pages("/api/v2/spaces", {"keys": ",".join(keys), "limit": "250"}):
            key, space_id = text(written, "key"), identity(written, "id")
            if space_id:
                found[key.upper()] = _Space(space_id, key, text(written, "name") or key)
        missing = [key for key in keys if key.upper() not in found]
        if missing:
            raise PlaceRefused(f"Confluence has no space {', '.join(missing)}, or hides it from the account of the source.")
        return [found[key.upper()] for key in keys]

    async def _list(self, space: _Space) -> AsyncGenerator[Page]:
        params = {"limit": str(LIST_PAGE_SIZE), "status": "current"}
        async for written in self._pages(f"/api/v2/spaces/{space.id}/pages", params):
            page = page_of(written)
            if page is not None and identity(written, "spaceId") in ("", space.id):
                yield page

    async def _bodies(self, space: _Space, tree: Tree, wanted: set[str]) -> AsyncGenerator[tuple[Page, str | None]]:
        """The pages to read, with their bodies where many are read at once. Each is as it was listed first, but for its version."""
        left = set(wanted)
        if len(wanted) * 2 > len(tree.pages):
            params = {"limit": str(BODY_PAGE_SIZE), "status": "current", "body-format": "storage"}
            async for written in self._pages(f"/api/v2/spaces/{space.id}/pages", params):
                page = tree.pages.get(identity(written, "id"))
                # One that changed between the two lists is read by itself at the next visit: its version is another then.
                if page is not None and page.id in left and isinstance(at(written, "body", "storage", "value"), str):
                    left.discard(page.id)
                    yield page, text(written, "body", "storage", "value")
        for page_id in sorted(left):
            yield tree.pages[page_id], None

    async def _body(self, page_id: str) -> str:
        written = await self._api.get(f"/api/v2/pages/{page_id}", {"body-format": "storage"})
        body = at(written, "body", "storage", "value")
        if identity(written, "id") != page_id or not isinstance(body, str):
            raise PageUnreadable(f"The page {page_id} has no body in storage format.")
        return body

    def _found(self, space: _Space, page: Page, body: str, tree: Tree) -> Found:
        ancestors = tree.ancestors(page)
        metadata = {
            "space": space.key, "space_name": space.name, "parent_id": page.parent,
            "ancestors": " > ".join(above.title for above in ancestors)[:1000],
        }  # fmt: skip
        content = page_html(body, page.title)
        said = {name: value for name, value in metadata.items() if value}
        return Found(page.id, _version(page, tree), self._uri(space, page), page.title, HTML, content, said, tree.access(page))

    async def _attachments(self, space: _Space, page: Page, access: Access | None, visit: Visit) -> AsyncGenerator[Seen]:
        async for written in self._pages(f"/api/v2/pages/{page.id}/attachments", {"limit": "250", "status": "current"}):
            attachment, name = identity(written, "id"), text(written, "title").strip()
            mime_type = document_type(text(written, "mediaType"), name)
            path = text(written, "downloadLink") or text(written, "_links", "download")
            if not attachment or not name or mime_type is None or not _is_path(path):
                continue
            key = f"{page.id}/attachment/{attachment}"
            version = f"{number(written, 'version', 'number')}:{_digest(access, name)}"
            uri = f"{self._api.base_url}{quote(path.partition('?')[0], safe='/%')}"
            if not visit.full and visit.known.get(key) == version:
                yield Unchanged(key)
                continue
            try:
                answer = await self._api.download(path, self._max_bytes)
            except CorellaError as error:
                yield Unreadable(key, uri, error, access)
                continue
            metadata = {"space": space.key, "space_name": space.name, "page_id": page.id}
            yield Found(key, version, uri, name[:200], mime_type, answer.content, metadata, access)

    async def _pages(self, path: str, params: dict[str, str]) -> AsyncGenerator[Object]:
        """The results of an API, page after page by the links it gives."""
        page = await self._api.get(path, params)
        for _ in range(MAX_API_PAGES):
            for result in objects(page, "results"):
                yield result
            link = text(page, "_links", "next")
            if not link:
                return
            page = await self._api.get(self._api.next_page(link))
        raise PlaceUnreachable("A list of Confluence's does not come to an end.")

    def _uri(self, space: _Space, page: Page) -> str:
        path = page.webui if _is_path(page.webui) else f"/spaces/{quote(space.key)}/pages/{page.id}"
        return self._api.base_url + path


def _is_path(written: str) -> bool:
    """Whether this is a path below the site, and no address of another."""
    plain = written.isascii() and written.isprintable() and " " not in written and "\\" not in written
    return plain and written.startswith("/") and not written.startswith("//") and len(written) < 2_000 and "/../" not in written


def _version(page: Page, tree: Tree) -> str:
    place = "\n".join(above.title for above in tree.ancestors(page))
    return f"{page.version}:{_digest(tree.access(page), page.title, page.parent, place)}"


def _digest(access: Access | None, *more: str) -> str:
    return sha256("\n".join([access_lists.written(access), *more]).encode("utf-8", errors="replace")).hexdigest()[:16]
