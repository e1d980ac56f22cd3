"""Sitemaps (https://www.sitemaps.org/protocol.html): lists of pages, lists of lists, and plain text; gzipped or not. Pure."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from lxml import etree

MAX_URLS = 50_000
MAX_BYTES = 50 << 20
"""Both of one sitemap, by its protocol."""
_SLICE_BYTES = 1 << 16
_GZIP = b"\x1f\x8b"
_DOCTYPE = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


class NoSitemap(ValueError):
    """The content is no sitemap."""


@dataclass(frozen=True)
class Sitemap:
    """What one file lists, as written."""

    pages: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()
    cut: bool = False
    """It lists more than is read."""


def looks_like_one(content: bytes, url: str) -> bool:
    """Whether this is a sitemap rather than a page, by how it begins."""
    head = content[:2_000].lower()
    return b"<urlset" in head or b"<sitemapindex" in head or (content.startswith(_GZIP) and url.endswith(".gz"))


def read(content: bytes) -> Sitemap:
    """Reads XML or plain text. Raises NoSitemap."""
    content = _unpacked(content)
    text = content.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text.startswith(b"<"):
        return _plain(text)
    if _DOCTYPE.search(text[:10_000]):
        raise NoSitemap("It declares a document type, which no sitemap needs.")
    parser = etree.XMLPullParser(
        events=("end",), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    pages: list[str] = []
    sitemaps: list[str] = []
    try:
        for start in range(0, len(text), _SLICE_BYTES):
            parser.feed(text[start : start + _SLICE_BYTES])
            for _, element in parser.read_events():
                if (where := _name(element)) not in ("url", "sitemap"):
                    continue
                listed = pages if where == "url" else sitemaps
                listed += [child.text.strip() for child in element if _name(child) == "loc" and child.text][:1]
                _forget(element)
        root = parser.close()
    except etree.XMLSyntaxError as exc:
        raise NoSitemap(f"It is not valid XML: {exc}.") from exc
    if _name(root) not in ("urlset", "sitemapindex"):
        raise NoSitemap(f"It begins with `{_name(root)[:40]}`, not with `urlset` or `sitemapindex`.")
    return Sitemap(tuple(pages[:MAX_URLS]), tuple(sitemaps[:MAX_URLS]), max(len(pages), len(sitemaps)) > MAX_URLS)


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _forget(element: etree._Element) -> None:
    """Frees what was read, so that a long list takes no more memory than a short one."""
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]


def _plain(text: bytes) -> Sitemap:
    try:
        lines = [line.strip() for line in text.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as exc:
        raise NoSitemap("It is neither XML nor text.") from exc
    if not lines or not all(line.startswith(("http://", "https://")) for line in lines):
        raise NoSitemap("It is neither XML nor a list of URLs.")
    return Sitemap(tuple(lines[:MAX_URLS]), cut=len(lines) > MAX_URLS)


def _unpacked(content: bytes) -> bytes:
    if not content.startswith(_GZIP):
        return content
    try:
        unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, MAX_BYTES + 1)
    except zlib.error as exc:
        raise NoSitemap("It cannot be decompressed.") from exc
    if len(unpacked) > MAX_BYTES:
        raise NoSitemap(f"It is larger than {MAX_BYTES >> 20} MiB.")
    return unpacked
