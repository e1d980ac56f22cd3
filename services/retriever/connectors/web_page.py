"""Reads one page of a crawl: asks its site's rules, fetches it if it may have changed, and says what became of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from services.chassis.errors import CorellaError
from services.retriever.connectors.connector import Found, PlaceRefused, PlaceUnreachable, Seen, Unchanged, Unreadable, Visit
from services.retriever.connectors.document_types import document_type
from services.retriever.connectors.http_types import REDIRECTS, Answer, redirected, shown
from services.retriever.connectors.page_links import directives, links_of
from services.retriever.connectors.safe_http import SafeHttp
from services.retriever.connectors.site_rules import SiteRules
from services.retriever.connectors.urls import Scope, host_of, normal
from services.retriever.readers import HTML

ACCEPT = "text/html,application/xhtml+xml,text/markdown;q=0.9,text/plain;q=0.8,application/pdf;q=0.8,*/*;q=0.5"
MAX_HOPS = 5
_ATTEMPTS = 3
_PERMANENT = frozenset((301, 308))


class Became(Enum):
    """What came of a page."""

    DOCUMENT = "DOCUMENT"
    MOVED = "MOVED"
    NOTHING = "NOTHING"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Page:
    """A page to be read."""

    url: str
    depth: int
    """Links from the start page."""
    hops: int = 0
    """Redirects and canonical addresses followed to it."""
    final: bool = False
    """Reached as the canonical address of another page: what it says of its own is not asked."""


@dataclass(frozen=True)
class Outcome:
    """What came of one page, and where it leads."""

    page: Page
    kind: Became
    seen: Seen | None = None
    """What a sync is told of it; None when it is no document."""
    links: tuple[str, ...] = ()
    """Pages of the place that it links to."""
    links_known: bool = True
    target: str = ""
    """Where a page that moved is now."""
    canonical: bool = False
    """`target` is the page's canonical address, not a redirect."""
    reachable: bool = True
    """False: its site may be away."""


@dataclass
class PageReader:
    """Reads the pages of one visit."""

    http: SafeHttp
    rules: SiteRules
    scope: Scope
    start: str
    visit: Visit
    memory: Mapping[str, tuple[str, ...]]
    """Links of pages at the last visit."""
    follow: bool = True
    """Links matter, so a page is only asked whether it changed if its links are remembered."""
    first: dict[str, Answer] = field(default_factory=dict)
    """Pages read already, by URL: the start page."""

    def known(self, url: str) -> str:
        """The version to ask about, if an answer that nothing changed would do."""
        usable = not self.visit.full and (not self.follow or url in self.memory)
        return self.visit.known.get(url, "") if usable else ""

    async def read(self, page: Page) -> Outcome:
        """Reads one page. A failure is an outcome too."""
        try:
            rules = await self.rules.of(page.url)
            if rules is None:
                raise PlaceUnreachable(f"The robots.txt of `{host_of(page.url)}` cannot be read, so nothing of it may be.")
            if not rules.allow(page.url):
                return Outcome(page, Became.NOTHING)
            known = self.known(page.url)
            answer = self.first.pop(page.url, None) or await self.http.fetch(
                page.url, accept=ACCEPT, headers=conditions(known), follow=False, attempts=_ATTEMPTS
            )
            return await self._understood(page, answer, known)
        except PlaceUnreachable as error:
            return self._failed(page, error, reachable=host_of(page.url) != host_of(self.start))
        except CorellaError as error:
            return self._failed(page, error)

    async def _understood(self, page: Page, answer: Answer, known: str) -> Outcome:
        index, follow = directives(answer.headers.get("x-robots-tag", ""))
        if answer.code == 304 and known:
            kind, seen = (Became.DOCUMENT, Unchanged(page.url)) if index else (Became.NOTHING, None)
            return Outcome(page, kind, seen, self.memory.get(page.url, ()))
        if answer.code in REDIRECTS:
            return self._moved(page, answer)
        if answer.code in (404, 410):
            return Outcome(page, Became.NOTHING)
        if answer.code != 200:
            return self._failed(page, PlaceRefused(f"`{shown(page.url)}` cannot be read (status {answer.code}).", status=answer.code))
        mime_type = document_type(answer.headers.get("content-type", ""), page.url)
        if mime_type is None:
            return Outcome(page, Became.NOTHING)
        links: tuple[str, ...] = ()
        links_known = True
        if mime_type == HTML:
            said = await asyncio.to_thread(links_of, answer.content, page.url, _charset(answer))
            links = tuple(link for link in said.links if self.scope.holds(link)) if follow else ()
            links_known = not said.cut
            index = index and said.index
            canonical = self._canonical(said.canonical, page)
            if canonical:
                return Outcome(page, Became.MOVED, links=links, links_known=links_known, target=canonical, canonical=True)
        if not index or not self.scope.holds(page.url):
            return Outcome(page, Became.NOTHING, links=links, links_known=links_known)
        found = Found(page.url, _version(answer), page.url, "", mime_type, _utf8(answer, mime_type), {"site": host_of(page.url)})
        return Outcome(page, Became.DOCUMENT, found, links, links_known)

    def _moved(self, page: Page, answer: Answer) -> Outcome:
        target = normal(redirected(answer))
        if target is None or page.hops >= MAX_HOPS:
            return self._failed(page, PlaceRefused(f"`{shown(page.url)}` redirects without end, or to no address."))
        if self.scope.holds(target) or (page.url == self.start and self.scope.same_site(target)):
            return Outcome(page, Became.MOVED, target=target)
        if answer.code in _PERMANENT or page.url not in self.visit.known:
            return Outcome(page, Became.NOTHING)
        # For the time being elsewhere: most often a page to sign in. What is known of the page stays.
        return self._failed(page, PlaceRefused(f"`{shown(page.url)}` redirects to another site, `{host_of(target)}`."))

    def _canonical(self, canonical: str, page: Page) -> str:
        """Where the page says it belongs, if that is another address of the same host within the place."""
        if page.url.startswith("https://") and canonical.startswith("http://"):
            canonical = "https://" + canonical.removeprefix("http://")
        if not canonical or canonical == page.url or page.final or host_of(canonical) != host_of(page.url):
            return ""
        return canonical if self.scope.holds(canonical) else ""

    def _failed(self, page: Page, error: CorellaError, reachable: bool = True) -> Outcome:
        remembered = self.memory.get(page.url)
        seen = Unreadable(page.url, page.url, error) if self.scope.holds(page.url) else None
        return Outcome(page, Became.FAILED, seen, remembered or (), links_known=remembered is not None, reachable=reachable)


def _version(answer: Answer) -> str:
    said = {name: answer.headers[name][:500] for name in ("etag", "last-modified") if answer.headers.get(name)}
    return json.dumps(said, separators=(",", ":")) if said else ""


def conditions(version: str) -> dict[str, str]:
    """Headers that ask for a page only if it is not of this version any more."""
    try:
        said = json.loads(version) if version else {}
    except ValueError:
        return {}
    names = {"etag": "if-none-match", "last-modified": "if-modified-since"}
    return {names[name]: value for name, value in said.items() if name in names and isinstance(value, str)}


def _charset(answer: Answer) -> str:
    for parameter in answer.headers.get("content-type", "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'")
    return ""


def _utf8(answer: Answer, mime_type: str) -> bytes:
    """The content as the readers expect it: they know what a file says of its encoding, not what a header says."""
    charset = _charset(answer).lower()
    if not charset or charset in ("utf-8", "utf8") or not mime_type.startswith("text/"):
        return answer.content
    try:
        text = answer.content.decode("cp1252" if charset in ("iso-8859-1", "latin1", "us-ascii") else charset)
    except (LookupError, ValueError):
        return answer.content
    return b"\xef\xbb\xbf" + text.encode()
