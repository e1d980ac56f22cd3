"""Reads web pages, from a start page along its links or from a sitemap, as a polite robot does.

    seen ──► _Crawl.run: rounds of a few pages at a time ──► PageReader.read: one page, conditional if it is known

A page's key is its URL in one form; redirects and `rel=canonical` make several addresses of a page one document.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice

from services.chassis.errors import CorellaError
from services.chassis.telemetry import get_logger
from services.retriever.connectors import crawl_memory
from services.retriever.connectors.connector import PlaceRefused, PlaceUnreachable, Seen, Unchanged, Unreadable, Visit
from services.retriever.connectors.http_types import REDIRECTS, redirected, shown
from services.retriever.connectors.places import WebPlace
from services.retriever.connectors.safe_http import SafeHttp
from services.retriever.connectors.site_maps import pages_of
from services.retriever.connectors.site_rules import SiteRules
from services.retriever.connectors.sitemap import Sitemap, looks_like_one
from services.retriever.connectors.urls import Scope, host_of, normal, path_of
from services.retriever.connectors.web_page import ACCEPT, MAX_HOPS, Became, Outcome, Page, PageReader, conditions

log = get_logger(__name__)

AT_ONCE = 4
PAUSE_SECONDS = 0.05
"""Between two rounds of requests, where robots.txt asks for no longer one; none after a round that brought nothing new."""
MAX_FAILURES = 8
"""Pages one after the other that could not be reached, after which the whole place counts as unreachable."""


class WebConnector:
    """A `Connector` for `WebPlace`."""

    def __init__(self, place: WebPlace, http: SafeHttp, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._place = place
        self._http = http
        self._pause_seconds = pause_seconds

    def seen(self, visit: Visit) -> AsyncGenerator[Seen]:
        """The pages, nearest first. `complete` stays False when `max_pages` cuts the crawl off, or when a page whose links are not
        known from the last visit, a sitemap or a robots.txt could not be read: each could hide others.

        Raises `PlaceUnreachable`, `PlaceRefused` and `AddressNotAllowed` for the start page.
        """
        return _Crawl(self._place, self._http, visit, self._pause_seconds).run()

    async def close(self) -> None:
        """Closes connections."""
        await self._http.aclose()


@dataclass
class _Crawl:
    """One visit."""

    place: WebPlace
    http: SafeHttp
    visit: Visit
    pause_seconds: float
    whole: bool = True
    """Nothing was left out that could be a document, or lead to one."""
    queue: deque[Page] = field(default_factory=deque)
    met: set[str] = field(default_factory=set)
    documents: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    stand_ins: dict[str, list[Page]] = field(default_factory=dict)
    """Pages that are documents themselves if their canonical address turns out to be none."""
    links: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failures: int = 0

    def __post_init__(self) -> None:
        start = normal(self.place.start_url)
        if start is None:
            raise PlaceRefused(f"`{shown(self.place.start_url)}` is not a URL of http or https.")
        self.start = start
        self.scope = Scope([host_of(start), *(host.lower() for host in self.place.hosts)], self.place.include, self.place.exclude)
        self.rules = SiteRules(self.http)
        self.mark = sha256(repr(self.place).encode()).hexdigest()[:16]
        mark, _, memory = self.visit.cursor.partition(":")
        remembered = crawl_memory.unpacked(memory) if mark == self.mark and not self.visit.full else {}
        self.reader = PageReader(self.http, self.rules, self.scope, start, self.visit, remembered)

    async def run(self) -> AsyncGenerator[Seen]:
        await self._begin()
        read = 0
        while self.queue and read < self.place.max_pages:
            delay = max([await self._delay(page.url) for page in islice(self.queue, AT_ONCE)])
            count = 1 if delay else min(AT_ONCE, self.place.max_pages - read, len(self.queue))
            batch = [self.queue.popleft() for _ in range(count)]
            read += count
            outcomes = await self._round(batch)
            for outcome in outcomes:
                if outcome.seen is not None and outcome.seen.key not in self.documents:
                    self.documents.add(outcome.seen.key)
                    yield outcome.seen
                self._take(outcome)
            if self.queue and (delay or not all(isinstance(outcome.seen, Unchanged) for outcome in outcomes)):
                await asyncio.sleep(delay or self.pause_seconds)
        if self.queue:
            self.whole = False
            log.info("crawl_cut_off", host=host_of(self.start), max_pages=self.place.max_pages)
        memory = await asyncio.to_thread(crawl_memory.packed, self.links)
        self.visit.next_cursor = f"{self.mark}:{memory}" if memory else ""
        self.visit.complete = self.whole

    async def _begin(self) -> None:
        """Reads the start URL far enough to know what it is, and fills the queue."""
        rules = await self.rules.of(self.start)
        if rules is None:
            raise PlaceUnreachable(f"The robots.txt of `{host_of(self.start)}` cannot be read, so nothing of it may be.")
        if not rules.allow(self.start):
            raise PlaceRefused(f"The robots.txt of `{host_of(self.start)}` does not allow reading `{shown(self.start)}`.")
        known = self.reader.known(self.start)
        answer = await self.http.fetch(self.start, accept=ACCEPT, headers=conditions(known), follow=False)
        if answer.code in REDIRECTS:
            answer = await self.http.fetch(redirected(answer), accept=ACCEPT)
        final = normal(answer.url) or self.start
        if not self.scope.same_site(final):
            raise PlaceRefused(
                f"`{shown(self.start)}` leads to the host `{host_of(final)}`. Name that one as the start URL or among the hosts."
            )
        if answer.code != 200 and not (answer.code == 304 and known):
            raise PlaceRefused(f"`{shown(self.start)}` cannot be read (status {answer.code}).")
        by_robots = path_of(final) == "/robots.txt"
        if by_robots or looks_like_one(answer.content, final):
            self.reader.follow = False
            first = Sitemap(sitemaps=rules.sitemaps) if by_robots else None
            listed, all_read = await pages_of(self.http, answer, self.rules, self.place.max_pages + 1, first)
            self.whole = all_read
            wanted = [url for url in listed if self.scope.holds(url)]
            self.visit.expected = min(len(wanted), self.place.max_pages)
            for url in wanted:
                self._enqueue(Page(url, 0))
        else:
            self.visit.expected = len(self.visit.known) or None
            self.reader.first[final] = answer
            self._enqueue(Page(final, 0))

    async def _delay(self, url: str) -> float:
        try:
            rules = await self.rules.of(url)
        except CorellaError:
            return 0.0  # said of the page itself, when it is read
        return rules.delay_seconds if rules else 0.0

    async def _round(self, batch: Sequence[Page]) -> list[Outcome]:
        outcomes = await asyncio.gather(*(self.reader.read(page) for page in batch))
        for outcome in outcomes:
            self.failures = 0 if outcome.reachable else self.failures + 1
            if self.failures >= MAX_FAILURES:
                error = outcome.seen.error if isinstance(outcome.seen, Unreadable) else None
                raise PlaceUnreachable(f"{self.failures} pages of `{host_of(self.start)}` in a row could not be reached.") from error
        return list(outcomes)

    def _take(self, outcome: Outcome) -> None:
        """Goes on from what came of a page."""
        page = outcome.page
        self.done.add(page.url)
        if outcome.kind is Became.MOVED and outcome.canonical:
            if outcome.target in self.done and outcome.target not in self.documents:
                self._enqueue(Page(page.url, page.depth, page.hops + 1, final=True), again=True)
            elif outcome.target not in self.done:
                self.stand_ins.setdefault(outcome.target, []).append(page)
                self._enqueue(Page(outcome.target, page.depth, page.hops, final=True), first=True)
        elif outcome.kind is Became.MOVED:
            self._enqueue(Page(outcome.target, page.depth, page.hops + 1, page.final), first=True)
        waiting = self.stand_ins.pop(page.url, [])
        if outcome.kind in (Became.NOTHING, Became.MOVED):
            for other in waiting:
                self._enqueue(Page(other.url, other.depth, MAX_HOPS, final=True), again=True)
        if not self.reader.follow:
            return
        if not outcome.links_known:
            self.whole = False
        if outcome.kind is not Became.NOTHING or outcome.links:
            self.links[page.url] = outcome.links
        if page.depth < self.place.max_depth:
            for link in outcome.links:
                self._enqueue(Page(link, page.depth + 1))

    def _enqueue(self, page: Page, first: bool = False, again: bool = False) -> None:
        if page.url in self.met and not again:
            return
        self.met.add(page.url)
        if first or again:
            self.queue.appendleft(page)
        else:
            self.queue.append(page)
