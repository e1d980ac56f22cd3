"""The pure parts of crawling: URLs in one form, links of a page, robots.txt, sitemaps, and what is remembered."""

from __future__ import annotations

import gzip

import pytest

from services.retriever.connectors import crawl_memory, sitemap
from services.retriever.connectors.page_links import directives, links_of
from services.retriever.connectors.protego_robots import Robots
from services.retriever.connectors.urls import Scope, normal

BASE = "https://docs.example.com/guide/start.html"


@pytest.mark.parametrize(
    ("written", "normalised"),
    [
        ("HTTPS://Docs.Example.COM:443/a", "https://docs.example.com/a"),
        ("http://docs.example.com:80", "http://docs.example.com/"),
        ("http://docs.example.com:8080/x#part", "http://docs.example.com:8080/x"),
        ("../b/./c/../d.html", "https://docs.example.com/b/d.html"),
        ("/a/..", "https://docs.example.com/"),
        ("/a/../../../etc/passwd", "https://docs.example.com/etc/passwd"),
        ("?page=2", "https://docs.example.com/guide/start.html?page=2"),
        ("/a?utm_source=x&b=1&gclid=7&UTM_Medium=y", "https://docs.example.com/a?b=1"),
        ("/a?utm_source=x", "https://docs.example.com/a"),
        ("/%7euser/%e4%b8%ad%2f", "https://docs.example.com/~user/%E4%B8%AD%2F"),
        ("/with blank/ü", "https://docs.example.com/with%20blank/%C3%BC"),
        ("//other.example/x", "https://other.example/x"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        (" /a\n", "https://docs.example.com/a"),
        ("http://[2001:DB8::1]:80/", "http://[2001:db8::1]/"),
    ],
)
def test_a_url_has_one_form(written: str, normalised: str) -> None:
    assert normal(written, BASE) == normalised
    assert normal(normalised) == normalised


@pytest.mark.parametrize(
    "written",
    ["mailto:a@b.example", "javascript:alert(1)", "file:///etc/passwd", "ftp://x/", "http://user:pw@x/", "http://", "data:text/html,x",
     "http://a\\@b/", "http://../x", "https://x/" + "a" * 3000],
)  # fmt: skip
def test_what_is_not_of_the_web_is_no_url(written: str) -> None:
    assert normal(written, BASE) is None


def test_a_place_holds_its_hosts_and_paths_only() -> None:
    scope = Scope(["docs.example.com"], ["/guide/*"], ["*/old/*"])
    assert scope.holds("https://docs.example.com/guide/a/b.html")
    assert not scope.holds("https://docs.example.com/blog")
    assert not scope.holds("https://docs.example.com/guide/old/a")
    assert not scope.holds("https://docs.example.com:8443/guide/a")
    assert not scope.holds("https://other.example.com/guide/a")


def test_links_are_followed_unless_the_page_says_otherwise() -> None:
    page = b"""<html><head><base href="/docs/"><link rel="canonical" href="/docs/one?utm_source=x"></head><body>
      <a href="two.html#part">2</a><a href="two.html">again</a><a rel="external nofollow" href="no.html">no</a>
      <a href="mailto:x@y">mail</a><area href="/three"><a href="#top">top</a></body></html>"""
    said = links_of(page, "https://x.example/a")
    assert said.links == ("https://x.example/docs/two.html", "https://x.example/three")
    assert said.canonical == "https://x.example/docs/one"
    assert said.index
    assert said.follow


def test_meta_robots_keeps_a_page_out_or_its_links() -> None:
    said = links_of(b'<meta name="robots" content="noindex, nofollow"><a href="/x">x</a>', "https://x.example/")
    assert (said.links, said.index, said.follow) == ((), False, False)
    assert links_of(b'<meta name="googlebot" content="noindex"><a href="/x">x</a>', "https://x.example/").index


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("", (True, True)),
        ("noindex", (False, True)),
        ("none", (False, False)),
        ("otherbot: noindex", (True, True)),
        ("otherbot: noindex, nofollow", (True, True)),
        ("CorellaBot: nofollow", (True, False)),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST, noindex", (False, True)),
    ],
)
def test_x_robots_tag_is_read_as_meta_robots_is(header: str, allowed: tuple[bool, bool]) -> None:
    assert directives(header) == allowed


ROBOTS = b"""
User-agent: otherbot
Disallow: /

User-agent: *
Disallow: /private/
Allow: /private/open
Disallow: /*.cgi$
Disallow: /search?
Crawl-delay: 3600
Sitemap: https://x.example/map.xml
"""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", True),
        ("/private/a", False),
        ("/private/open/a", True),
        ("/a/b.cgi", False),
        ("/a/b.cgi?x", True),
        ("/search?q=1", False),
        ("/searching", True),
    ],
)
def test_the_longest_rule_of_robots_txt_holds(path: str, allowed: bool) -> None:
    assert Robots(ROBOTS).allow("https://x.example" + path) is allowed


def test_robots_txt_names_sitemaps_and_a_delay_that_is_bounded() -> None:
    robots = Robots(ROBOTS)
    assert robots.sitemaps == ("https://x.example/map.xml",)
    assert robots.delay_seconds == 10.0
    assert not Robots(b"User-agent: corellabot\nDisallow: /").allow("https://x.example/a")
    assert Robots(b"\xff\xfe\x00garbage" * 1000).allow("https://x.example/a")


SITEMAP = b"""<?xml version="1.0" encoding="UTF-8"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
<url><loc> https://x.example/a </loc><lastmod>2025-01-01</lastmod></url><url><loc>https://x.example/b?x=1&amp;y=2</loc></url></urlset>"""


def test_a_sitemap_lists_pages_also_gzipped() -> None:
    pages = ("https://x.example/a", "https://x.example/b?x=1&y=2")
    assert sitemap.read(SITEMAP).pages == pages
    assert sitemap.read(gzip.compress(SITEMAP)).pages == pages
    assert sitemap.looks_like_one(SITEMAP, "https://x.example/any")


def test_an_index_lists_sitemaps_and_text_lists_pages() -> None:
    index = b"<sitemapindex><sitemap><loc>https://x.example/1.xml</loc></sitemap></sitemapindex>"
    assert sitemap.read(index).sitemaps == ("https://x.example/1.xml",)
    assert sitemap.read(b"https://x.example/a\nhttps://x.example/b\n").pages == ("https://x.example/a", "https://x.example/b")


@pytest.mark.parametrize(
    "content",
    [
        b"<html><body>no</body></html>",
        b"<urlset><url>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>',
        b"just words",
        b"\x1f\x8bnot gzip",
        gzip.compress(b" " * (sitemap.MAX_BYTES + 10)),
    ],
)
def test_what_is_no_sitemap_is_refused(content: bytes) -> None:
    with pytest.raises(sitemap.NoSitemap):
        sitemap.read(content)


def test_links_are_remembered_and_garbage_is_not() -> None:
    links = {"https://x.example/a": ("https://x.example/b",), "https://x.example/b": ()}
    assert crawl_memory.unpacked(crawl_memory.packed(links)) == links
    for garbage in ("", "x", "ü", crawl_memory.packed(links)[:-5], crawl_memory.packed(links)[::-1]):
        assert crawl_memory.unpacked(garbage) == {}
