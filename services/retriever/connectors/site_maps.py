"""Reads a sitemap and those it lists, until there are enough pages."""

from __future__ import annotations

import asyncio

from services.chassis.errors import CorellaError
from services.chassis.telemetry import get_logger
from services.retriever.connectors.connector import PlaceRefused
from services.retriever.connectors.http_types import Answer, shown
from services.retriever.connectors.safe_http import SafeHttp
from services.retriever.connectors.site_rules import SiteRules
from services.retriever.connectors.sitemap import MAX_BYTES, NoSitemap, Sitemap, read
from services.retriever.connectors.urls import host_of, normal

log = get_logger(__name__)

MAX_SITEMAPS = 500
MAX_DEPTH = 3
"""Lists of lists of lists."""


async def pages_of(
    http: SafeHttp, first: Answer, rules: SiteRules, most: int, read_already: Sitemap | None = None
) -> tuple[list[str], bool]:
    """Pages that a sitemap lists, each once in its one form, at most `most`; and whether all sitemaps could be read.

    Raises `PlaceRefused` when the first one is no sitemap.
    """
    pages: dict[str, None] = {}
    try:
        listed = read_already if read_already is not None else await asyncio.to_thread(read, first.content)
        waiting = [(sitemap, 1) for sitemap in _take(pages, first.url, listed, most)]
        whole = not listed.cut
    except NoSitemap as exc:
        raise PlaceRefused(f"`{shown(first.url)}` is no sitemap. {exc}") from exc
    done = {normal(first.url)}
    while waiting and len(pages) < most:
        url, depth = waiting.pop(0)
        if url in done:
            continue
        if depth > MAX_DEPTH or len(done) >= MAX_SITEMAPS or host_of(url) != host_of(normal(first.url) or url):
            whole = False
            continue
        done.add(url)
        try:
            robots = await rules.of(url)
            if robots is None or not robots.allow(url):
                whole = False
                continue
            answer = await http.fetch(url, max_bytes=MAX_BYTES)
            if answer.code != 200:
                raise NoSitemap(f"status {answer.code}")
            listed = await asyncio.to_thread(read, answer.content)
        except (NoSitemap, CorellaError) as exc:
            log.info("sitemap_unreadable", url=shown(url), error=str(exc))
            whole = False
            continue
        whole = whole and not listed.cut
        waiting += [(sitemap, depth + 1) for sitemap in _take(pages, answer.url, listed, most)]
    return list(pages), whole


def _take(pages: dict[str, None], base: str, listed: Sitemap, most: int) -> list[str]:
    for written in listed.pages:
        url = normal(written, base)
        if url is not None and len(pages) < most:
            pages[url] = None
    return list(dict.fromkeys(url for url in (normal(written, base) for written in listed.sitemaps) if url is not None))
