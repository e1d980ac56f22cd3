"""What an HTML page says to whoever crawls it: its links, its canonical address, and what robots are asked not to do. Pure."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from bs4.dammit import EncodingDetector

from services.retriever.connectors.urls import normal
from services.retriever.html_reader import parse
from services.retriever.readers import HTML, READERS
from services.retriever.structure import DocumentUnreadable

MAX_LINKS = 5_000
"""Of one page; those beyond are not followed."""
_ROBOTS = ("robots", "corellabot")


@dataclass(frozen=True)
class PageLinks:
    """What one page says."""

    links: tuple[str, ...] = ()
    """In their one form, each once, in the order of the page; without those marked `nofollow`."""
    canonical: str = ""
    index: bool = True
    follow: bool = True
    cut: bool = False
    """There were more links than are followed."""


def links_of(content: bytes, url: str, charset: str = "") -> PageLinks:
    """Reads a page. One that cannot be read as HTML, or is larger than pages that are read, says nothing."""
    if len(content) > READERS[HTML].max_bytes:
        return PageLinks(cut=True)
    declared = charset or EncodingDetector.find_declared_encoding(content, is_html=True, search_entire_document=False) or "utf-8"
    try:
        codec = codecs.lookup(declared)
        root = parse(codec.decode(content, "replace")[0])
    except (DocumentUnreadable, LookupError, ValueError, TypeError):
        return PageLinks(cut=True)
    if root is None:
        return PageLinks()
    base_element = root.find(".//base[@href]")
    base = url if base_element is None else normal(base_element.get("href"), url) or url
    index, follow = True, True
    for meta in root.iterfind(".//meta[@name]"):
        if meta.get("name", "").strip().lower() in _ROBOTS:
            may_index, may_follow = directives(meta.get("content", ""))
            index, follow = index and may_index, follow and may_follow
    canonical = ""
    for link in root.iterfind(".//link[@rel]"):
        if "canonical" in link.get("rel", "").lower().split():
            canonical = normal(link.get("href", ""), base) or ""
            break
    found: dict[str, None] = {}
    cut = False
    for element in root.iter("a", "area"):
        href = element.get("href")
        if not href or href.startswith("#") or "nofollow" in element.get("rel", "").lower().split():
            continue
        target = normal(href, base)
        if target is None or target in found:
            continue
        if len(found) >= MAX_LINKS:
            cut = True
            break
        found[target] = None
    return PageLinks(tuple(found) if follow else (), canonical, index, follow, cut)


def directives(written: str) -> tuple[bool, bool]:
    """Whether a robot may index a page and follow its links, by a `robots` meta tag or an `X-Robots-Tag`.

    The header may name a robot before its directives (`otherbot: noindex`); what is said to others is not for us.
    """
    index, follow, for_us = True, True, True
    for part in written.lower().split(","):
        name, colon, rest = part.partition(":")
        directive = part.strip()
        if colon and name.strip() not in ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"):
            for_us = name.strip() in _ROBOTS
            directive = rest.strip()
        if for_us:
            index = index and directive not in ("noindex", "none")
            follow = follow and directive not in ("nofollow", "none")
    return index, follow
