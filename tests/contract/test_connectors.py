"""The connectors against servers of their kind, over real sockets, and against a directory on disk."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "servers"))

from atlassian_server import TOKEN, USER, AtlassianServer
from visiting import visited
from web_server import WebServer

from services.chassis.errors import InvalidArgument
from services.retriever.access import EVERYONE, NOBODY, Access, AccessLevel
from services.retriever.connectors.connector import PlaceRefused, PlaceUnreachable, Unchanged
from services.retriever.connectors.opening import open_connector
from services.retriever.connectors.pinned_transport import AddressNotAllowed
from services.retriever.connectors.places import ConfluencePlace, ConnectorSettings, DirectoryPlace, JiraPlace, Secret, WebPlace
from services.retriever.domain import SourceNotAllowed
from services.retriever.readers import HTML, MARKDOWN, TICKET, read_document

# Directories.


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "board").mkdir(parents=True)
    (root / "board" / "open").mkdir()
    (root / "a.md").write_text("# A\n\nText of a.")
    (root / "b.html").write_text("<h1>B</h1><p>Text of b.</p>")
    (root / "board" / "c.md").write_text("# C")
    (root / "board" / "open" / "d.md").write_text("# D")
    (root / "board" / ".access.json").write_text('{"groups": ["board"]}')
    (root / "board" / "open" / "d.md.access.json").write_text('{"everyone": true}')
    (root / "e.md").write_text('---\ntitle: E\naccess:\n  users: [maren]\n  groups: ["board"]\n---\n# E')
    (tmp_path / "secret.md").write_text("secret")
    (root / "out.md").symlink_to(tmp_path / "secret.md")
    (root / "folder-out").symlink_to(tmp_path)
    return root


def on_disk(root: Path) -> ConnectorSettings:
    return ConnectorSettings(import_roots=(root.parent,), document_max_bytes=1 << 20)


async def test_a_directory_gives_its_files_with_who_may_read_them(tree: Path) -> None:
    result = await visited(DirectoryPlace(str(tree), base_uri="https://docs.example/"), on_disk(tree))
    assert {key: each.access for key, each in result.found.items()} == {
        "a.md": None, "b.html": None, "board/c.md": Access.listed(groups=["board"]), "board/open/d.md": EVERYONE,
        "e.md": Access.listed(["maren"], ["board"]),
    }  # fmt: skip
    found = result.found["board/c.md"]
    assert (found.uri, found.mime_type, found.content) == ("https://docs.example/board/c.md", MARKDOWN, b"# C")
    assert result.visit.complete
    assert result.visit.expected == 5


async def test_only_files_that_changed_are_handed_over_again(tree: Path) -> None:
    place, settings = DirectoryPlace(str(tree), exclude=("b.html",)), on_disk(tree)
    first = await visited(place, settings)
    second = await visited(place, settings, first)
    assert second.unchanged == set(first.found)
    (tree / "a.md").write_text("# A, again")
    (tree / "board" / ".access.json").write_text('{"groups": ["board", "laboratory"]}')
    (tree / "e.md").unlink()
    third = await visited(place, settings, second)
    assert set(third.found) == {"a.md", "board/c.md"}
    assert third.unchanged == {"board/open/d.md"}
    assert third.visit.complete
    assert set((await visited(place, settings, third, full=True)).found) == {"a.md", "board/c.md", "board/open/d.md"}


@pytest.mark.parametrize(
    "written",
    ["", "not json", "[]", "{}", '{"groups": []}', '{"groups": "board"}', '{"groups": [1]}', '{"everyone": "yes"}', '{"group": ["board"]}',
     '{"everyone": true, "groups": ["board"]}', '{"users": [""]}', "[" * 100_000],
)  # fmt: skip
async def test_a_sidecar_that_is_not_understood_opens_nothing(written: str, tree: Path) -> None:
    (tree / "a.md.access.json").write_text(written)
    assert (await visited(DirectoryPlace(str(tree)), on_disk(tree))).found["a.md"].access == NOBODY


@pytest.mark.parametrize(
    "front",
    ["access: everyone", "access: [a]", "access:\n  groups: &a [x]\n  users: *a", "access: {groups: [a]", "access:", "access: {groups: []}",
     "other: {a: [\naccess: {everyone: true}", "ACCESS: {everyone: true}"],
)  # fmt: skip
async def test_front_matter_that_speaks_of_access_and_is_not_understood_opens_nothing(front: str, tree: Path) -> None:
    (tree / "a.md").write_text(f"---\n{front}\n---\n# A")
    assert (await visited(DirectoryPlace(str(tree)), on_disk(tree))).found["a.md"].access == NOBODY


async def test_sidecars_that_cannot_be_opened_open_nothing(tree: Path) -> None:
    (tree / "a.md.access.json").symlink_to(tree.parent / "everyone.json")
    (tree.parent / "everyone.json").write_text('{"everyone": true}')
    (tree / "b.html.access.json").mkdir()
    (tree / "board" / ".access.json").unlink()
    (tree / "board" / ".access.json").symlink_to("/nowhere")
    found = (await visited(DirectoryPlace(str(tree)), on_disk(tree))).found
    assert [found[key].access for key in ("a.md", "b.html", "board/c.md")] == [NOBODY] * 3


async def test_a_file_too_large_is_a_failed_item_and_the_rest_goes_on(tree: Path) -> None:
    (tree / "board" / "big.md").write_bytes(b"x" * ((1 << 20) + 1))
    result = await visited(DirectoryPlace(str(tree)), on_disk(tree))
    assert result.unreadable["board/big.md"].error.reason == "DOCUMENT_TOO_LARGE"
    assert result.unreadable["board/big.md"].access == Access.listed(groups=["board"])
    assert len(result.found) == 5
    assert result.visit.complete


async def test_a_directory_that_is_gone_is_unreachable_and_loses_nothing(tree: Path) -> None:
    with pytest.raises(PlaceUnreachable):
        await visited(DirectoryPlace(str(tree / "gone")), on_disk(tree))
    with pytest.raises(SourceNotAllowed):
        await visited(DirectoryPlace("/etc"), on_disk(tree))
    (tree / "link").symlink_to("/etc")
    with pytest.raises(SourceNotAllowed):
        await visited(DirectoryPlace(str(tree / "link")), on_disk(tree))
    with pytest.raises(InvalidArgument):
        await visited(DirectoryPlace(os.path.relpath(tree)), on_disk(tree))


@pytest.mark.parametrize("broken", ["board", ""])
async def test_a_folder_that_cannot_be_listed_may_hide_files(broken: str, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, who may list everything, so the system's answer is made up."""
    listing = os.scandir

    def scandir(path: Path) -> object:
        if Path(path) == tree / broken:
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    if not broken:
        with pytest.raises(PlaceUnreachable):
            await visited(DirectoryPlace(str(tree)), on_disk(tree))
        return
    result = await visited(DirectoryPlace(str(tree)), on_disk(tree))
    assert set(result.found) == {"a.md", "b.html", "e.md"}
    assert not result.visit.complete


# The web.


@pytest.fixture
def site() -> Iterator[WebServer]:
    server = WebServer()
    with server:
        server.put(
            "/", '<h1>Home</h1><a href="/a.html">A</a> <a href="/b.html?utm_source=home">B</a> <a href="http://elsewhere.example/">x</a>'
        )
        server.put(
            "/a.html", '<h1>A</h1><a href="/deep/c.html">C</a> <a href="/private/p.html">P</a> <a rel="nofollow" href="/n.html">N</a>'
        )
        server.put("/b.html", "<h1>B</h1>", validators="modified")
        server.put("/deep/c.html", '<h1>C</h1><a href="d.html">D</a>', validators="etag")
        server.put("/deep/d.html", '<h1>D</h1><a href="/notes.md">notes</a><a href="/x.png">x</a>', validators="none")
        server.put("/notes.md", "# Notes")
        server.put("/x.png", b"\x89PNG", type="image/png")
        server.put("/n.html", "<h1>N</h1>")
        server.put("/private/p.html", "<h1>P</h1>")
        server.put("/robots.txt", "User-agent: *\nDisallow: /private/\n")
        yield server


def web(server: WebServer) -> ConnectorSettings:
    return ConnectorSettings(allowed_hosts=(server.host,))


def at(server: WebServer, *paths: str) -> set[str]:
    return {server.url + path for path in paths}


async def test_a_crawl_finds_what_is_linked_and_allowed(site: WebServer) -> None:
    result = await visited(WebPlace(site.url), web(site))
    assert set(result.found) == at(site, "/", "/a.html", "/b.html", "/deep/c.html", "/deep/d.html")
    assert result.visit.complete
    assert not site.asked("private|n.html")
    assert {asked.headers["user-agent"] for asked in site.requests} == {"CorellaBot/1.0"}
    deeper = await visited(WebPlace(site.url, max_depth=4), web(site))
    assert deeper.found[site.url + "/notes.md"].mime_type == MARKDOWN
    assert set((await visited(WebPlace(site.url, max_depth=0), web(site))).found) == at(site, "/")


async def test_an_unchanged_site_costs_conditional_requests_and_a_changed_page_is_found(site: WebServer) -> None:
    place = WebPlace(site.url, max_depth=4)
    first = await visited(place, web(site))
    second = await visited(place, web(site), first)
    assert set(second.found) == at(site, "/deep/d.html")  # a page without validators: its content decides
    assert second.unchanged == set(first.found) - set(second.found)
    site.put("/deep/c.html", '<h1>C, new</h1><a href="d.html">D</a><a href="/deep/e.html">E</a>', validators="etag")
    site.put("/deep/e.html", "<h1>E</h1>")
    site.remove("/b.html")
    third = await visited(place, web(site), second)
    assert set(third.found) == at(site, "/deep/c.html", "/deep/d.html", "/deep/e.html")
    assert site.url + "/b.html" not in third.seen
    assert third.visit.complete
    assert set((await visited(place, web(site), third, full=True)).found) == set(third.seen)


async def test_a_page_that_fails_stays_and_what_it_links_to_as_well(site: WebServer) -> None:
    place = WebPlace(site.url)
    first = await visited(place, web(site))
    site.fail("/a.html", code=500, times=-1)
    site.fail("/b.html", code=403, times=-1)
    second = await visited(place, web(site), first)
    assert set(second.unreadable) == at(site, "/a.html", "/b.html")
    assert set(second.seen) == set(first.found)
    assert second.visit.complete
    fresh = await visited(place, web(site))
    assert not fresh.visit.complete  # whatever is linked from /a.html was not seen


async def test_a_site_that_is_away_or_does_not_say_its_rules_loses_nothing(site: WebServer) -> None:
    first = await visited(WebPlace(site.url), web(site))
    site.fail("robots", code=503, times=-1)
    with pytest.raises(PlaceUnreachable):
        await visited(WebPlace(site.url), web(site), first)
    site.heal()
    site.fail("^/$", code=500, times=-1)
    with pytest.raises(PlaceUnreachable):
        await visited(WebPlace(site.url), web(site), first)
    site.heal()
    site.remove("/")
    with pytest.raises(PlaceRefused):
        await visited(WebPlace(site.url), web(site), first)


async def test_a_site_that_goes_away_while_it_is_read_is_unreachable(site: WebServer) -> None:
    site.put("/", "".join(f'<a href="/p{number}.html">{number}</a>' for number in range(12)))
    site.fail(r"^/p\d", drop=True, times=-1)
    with pytest.raises(PlaceUnreachable, match="in a row"):
        await visited(WebPlace(site.url), web(site))


async def test_a_limit_on_pages_leaves_the_visit_incomplete(site: WebServer) -> None:
    result = await visited(WebPlace(site.url, max_pages=2), web(site))
    assert len(result.found) == 2
    assert not result.visit.complete


async def test_patterns_choose_pages_but_the_start_page_is_read_for_its_links(site: WebServer) -> None:
    result = await visited(WebPlace(site.url, include=("/a*", "/deep/*"), exclude=("*/d.html",)), web(site))
    assert set(result.found) == at(site, "/a.html", "/deep/c.html")


async def test_a_sitemap_lists_the_pages(site: WebServer) -> None:
    index = f"<sitemapindex><sitemap><loc>{site.url}/one.xml</loc></sitemap></sitemapindex>"
    listed = [f"{site.url}/n.html", f"{site.url}/a.html#x", f"{site.url}/private/p.html", "http://other.example/"]
    site.put("/sitemap.xml", index, type="application/xml")
    site.put("/one.xml", "<urlset>" + "".join(f"<url><loc>{url}</loc></url>" for url in listed) + "</urlset>")
    place = WebPlace(site.url + "/sitemap.xml")
    first = await visited(place, web(site))
    assert set(first.found) == at(site, "/n.html", "/a.html")
    assert first.visit.complete
    second = await visited(place, web(site), first)
    assert second.unchanged == set(first.found)
    site.fail("one.xml", code=404, times=-1)
    assert not (await visited(place, web(site), second)).visit.complete


async def test_robots_txt_as_the_start_gives_the_sitemaps_it_names(site: WebServer) -> None:
    site.put("/robots.txt", f"User-agent: *\nDisallow:\nSitemap: {site.url}/s.txt\n")
    site.put("/s.txt", f"{site.url}/n.html\n")
    assert set((await visited(WebPlace(site.url + "/robots.txt"), web(site))).found) == at(site, "/n.html")


async def test_addresses_of_one_page_are_one_document(site: WebServer) -> None:
    site.put("/", '<a href="/one?x=1">1</a><a href="/one?x=2">2</a><a href="/moved">m</a><a href="/lost">l</a><a href="/odd">o</a>')
    for query in ("?x=1", "?x=2", ""):
        site.put("/one" + query, '<link rel="canonical" href="/one"><h1>One</h1>')
    site.put("/lost", '<link rel="canonical" href="/nowhere"><h1>Lost</h1>')
    site.put("/odd", '<link rel="canonical" href="http://elsewhere.example/"><h1>Odd</h1>')
    site.redirect("/moved", "/target", 301)
    site.put("/target", "<h1>Target</h1>")
    result = await visited(WebPlace(site.url), web(site))
    assert set(result.found) == at(site, "/", "/one", "/target", "/lost", "/odd")
    assert result.visit.complete


async def test_noindex_keeps_a_page_out_and_its_links_in(site: WebServer) -> None:
    site.put("/a.html", '<meta name="robots" content="noindex"><a href="/deep/c.html">C</a>')
    site.put("/b.html", "<h1>B</h1>", headers={"x-robots-tag": "noindex"})
    assert set((await visited(WebPlace(site.url, max_depth=2), web(site))).found) == at(site, "/", "/deep/c.html")


async def test_a_page_that_asks_to_sign_in_elsewhere_is_kept(site: WebServer) -> None:
    first = await visited(WebPlace(site.url), web(site))
    site.redirect("/b.html", "http://login.example/", 302)
    assert site.url + "/b.html" in (await visited(WebPlace(site.url), web(site), first)).unreadable
    site.redirect("/b.html", "http://elsewhere.example/", 301)
    assert site.url + "/b.html" not in (await visited(WebPlace(site.url), web(site), first)).seen


async def test_a_site_on_this_machine_is_read_only_if_a_setting_allows_it(site: WebServer) -> None:
    with pytest.raises(AddressNotAllowed):
        await visited(WebPlace(site.url), ConnectorSettings())
    site.redirect("/a.html", "http://169.254.169.254/latest/")
    assert (await visited(WebPlace(site.url), web(site))).visit.complete  # not followed: another site
    result = await visited(WebPlace(site.url, hosts=("169.254.169.254",)), web(site))
    assert result.unreadable["http://169.254.169.254/latest/"].error.reason == "ADDRESS_NOT_ALLOWED"


# Jira.


@pytest.fixture
def atlassian() -> Iterator[AtlassianServer]:
    server = AtlassianServer()
    with server:
        yield server


def jira(server: AtlassianServer, *projects: str, **more: object) -> JiraPlace:
    return JiraPlace(server.url, projects or ("SUP", "OPS"), Secret(TOKEN), USER, **more)  # type: ignore[arg-type]


def site_of(server: AtlassianServer) -> ConnectorSettings:
    return ConnectorSettings(allowed_hosts=(server.host,))


@pytest.mark.parametrize("version", [2, 3])
async def test_an_issue_becomes_a_ticket_with_its_comments_and_solution(version: int, atlassian: AtlassianServer) -> None:
    result = await visited(jira(atlassian, api_version=version), site_of(atlassian))
    assert set(result.found) == {"OPS-1", "OPS-2", "OPS-3", "SUP-1041", "SUP-1058", "SUP-1063", "SUP-1070"}
    found = result.found["SUP-1041"]
    assert (found.uri, found.mime_type, found.access) == (f"{atlassian.url}/browse/SUP-1041", TICKET, None)
    document = read_document(found.content, found.mime_type, found.uri, found.title)
    assert [section.kind for section in document.sections] == ["description", "comment", "comment", "comment", "solution"]
    assert document.sections[-1].blocks[0].startswith("The three sensors still ran firmware 2.1.1.")
    ticket = json.loads(result.found["OPS-1"].content)
    assert ticket["comments"][0]["url"] == f"{atlassian.url}/browse/OPS-1?focusedCommentId=60101"
    assert ticket["solution"]["url"].endswith("focusedCommentId=60103")
    assert "90 pounds" not in result.found["OPS-1"].content.decode()  # a comment for the group `finance`
    assert result.visit.complete


async def test_who_may_read_an_issue_is_who_may_browse_it_and_is_of_its_level(atlassian: AtlassianServer) -> None:
    found = (await visited(jira(atlassian, "OPS"), site_of(atlassian))).found
    assert found["OPS-1"].access == Access.listed(groups=["employees"])
    readers = found["OPS-2"].access
    assert readers is not None
    # Of the level (laboratory, technicians, Maren, Kerensa by her role) those who are employees; not the visitor of the laboratory.
    assert {"712020:maren-oldacre", "712020:kerensa-wold", "sunniva.blakelock@hollinmere.example"} <= readers.users
    assert "712020:visitor" not in readers.users
    assert readers.groups == frozenset()
    assert found["OPS-3"].access == NOBODY  # the members of its level are not told


async def test_to_an_account_that_is_no_administrator_levels_are_nobodys(atlassian: AtlassianServer) -> None:
    atlassian.admin = False
    found = (await visited(jira(atlassian, "OPS"), site_of(atlassian))).found
    assert [found[key].access for key in ("OPS-1", "OPS-2", "OPS-3")] == [None, NOBODY, NOBODY]


async def test_a_project_that_no_longer_says_who_may_browse_it_is_closed_and_not_opened(atlassian: AtlassianServer) -> None:
    first = await visited(jira(atlassian), site_of(atlassian))
    atlassian.fail("permissionscheme", code=403, times=-1)
    second = await visited(jira(atlassian), site_of(atlassian), first)
    assert second.found["OPS-1"].access == NOBODY
    assert (await visited(jira(atlassian), site_of(atlassian), second)).unchanged == set(first.found)
    atlassian.heal()
    third = await visited(jira(atlassian), site_of(atlassian), second)
    assert third.found["OPS-1"].access == Access.listed(groups=["employees"])
    atlassian.admin = False
    told = await visited(jira(atlassian), site_of(atlassian), third, full=True)  # somebody says that it is to be so
    assert told.found["OPS-1"].access is None


async def test_only_issues_that_changed_are_read_again(atlassian: AtlassianServer) -> None:
    first = await visited(jira(atlassian), site_of(atlassian))
    atlassian.requests.clear()
    second = await visited(jira(atlassian), site_of(atlassian), first)
    assert second.unchanged == set(first.found)
    assert not atlassian.asked("/issue/")
    atlassian.comment("SUP-1041", "50999", "It happened again in June.")
    atlassian.remove_issue("SUP-1058")
    atlassian.put_issue("OPS-9", summary="New one", description="Something new.")
    third = await visited(jira(atlassian), site_of(atlassian), second)
    assert set(third.found) == {"SUP-1041", "OPS-9"}
    assert "It happened again in June." in third.found["SUP-1041"].content.decode()
    assert "SUP-1058" not in third.seen
    assert third.visit.complete


async def test_a_change_of_who_may_read_is_seen_although_the_issue_did_not_change(atlassian: AtlassianServer) -> None:
    first = await visited(jira(atlassian), site_of(atlassian))
    atlassian.members["employees"].pop(0)  # Maren
    atlassian.secure("SUP-1041", "10100")
    second = await visited(jira(atlassian), site_of(atlassian), first)
    assert set(second.found) == {"OPS-2", "SUP-1041"}
    access = second.found["OPS-2"].access
    assert access is not None
    assert "712020:maren-oldacre" not in access.users
    sup = second.found["SUP-1041"].access
    assert sup is not None
    assert sup.level is AccessLevel.LISTED
    assert sup.groups == frozenset(("laboratory", "technicians"))


@pytest.mark.parametrize("by_token", [True, False])
async def test_issues_and_comments_come_in_pages(by_token: bool, atlassian: AtlassianServer) -> None:
    atlassian.has_search_jql, atlassian.page_size, atlassian.inline_comments = by_token, 3, 1
    for number in range(8):
        atlassian.comment("SUP-1041", str(70_000 + number), f"Comment number {number}.")
    result = await visited(jira(atlassian), site_of(atlassian))
    assert len(result.found) == 7
    assert result.visit.complete
    assert len(json.loads(result.found["SUP-1041"].content)["comments"]) + 1 == 12


async def test_busy_and_failing_jira_is_asked_again(atlassian: AtlassianServer) -> None:
    atlassian.fail("search/jql", code=429, headers={"retry-after": "1"})
    atlassian.fail("myself", code=502)
    assert (await visited(jira(atlassian), site_of(atlassian))).visit.complete


async def test_what_jira_says_no_to_loses_nothing(atlassian: AtlassianServer) -> None:
    settings = site_of(atlassian)
    with pytest.raises(PlaceRefused, match="secret") as caught:
        await visited(JiraPlace(atlassian.url, ("SUP",), Secret("wrong"), USER), settings)
    assert "wrong" not in caught.value.message
    with pytest.raises(PlaceRefused):
        await visited(jira(atlassian, "NOPE"), settings)
    with pytest.raises(PlaceRefused):
        await visited(jira(atlassian, jql="labels = x ORDER BY key"), settings)
    atlassian.fail("search", code=200, content="<html>Sign in</html>", times=-1)
    with pytest.raises(PlaceRefused, match="JSON"):
        await visited(jira(atlassian), settings)
    atlassian.stop()
    with pytest.raises(PlaceUnreachable):
        await visited(jira(atlassian), settings)


async def test_one_issue_that_fails_is_one_failed_item(atlassian: AtlassianServer) -> None:
    atlassian.inline_comments = 1
    first = await visited(jira(atlassian, include_attachments=True), site_of(atlassian))
    atlassian.comment("OPS-1", "60200", "More about it.")
    atlassian.fail("/issue/OPS-1/comment", code=500, times=-1)
    second = await visited(jira(atlassian, include_attachments=True), site_of(atlassian), first)
    assert set(second.unreadable) == {"OPS-1"}
    assert "OPS-1/attachment/10001" in second.unchanged
    assert second.visit.complete


async def test_who_may_read_an_issue_that_cannot_be_read_is_told_nevertheless(atlassian: AtlassianServer) -> None:
    atlassian.inline_comments = 1
    first = await visited(jira(atlassian, include_attachments=True), site_of(atlassian))
    atlassian.comment("OPS-1", "60200", "More about it.")
    atlassian.members["employees"].pop(0)  # Maren
    atlassian.secure("OPS-1", "10100")
    atlassian.fail("/issue/OPS-1/comment", code=500, times=-1)
    second = await visited(jira(atlassian, include_attachments=True), site_of(atlassian), first)
    held = second.unreadable["OPS-1"].access
    assert held is not None
    assert held != first.found["OPS-1"].access
    attachment = second.seen["OPS-1/attachment/10001"]
    assert isinstance(attachment, Unchanged)
    assert attachment.access == held
    atlassian.heal()
    assert (await visited(jira(atlassian), site_of(atlassian), second)).found["OPS-1"].access == held


async def test_who_may_read_an_attachment_that_cannot_be_read_is_told_nevertheless(atlassian: AtlassianServer) -> None:
    first = await visited(jira(atlassian, include_attachments=True), site_of(atlassian))
    atlassian.secure("OPS-1", "10100")
    atlassian.fail("attachment/content", code=500, times=-1)
    second = await visited(jira(atlassian, include_attachments=True), site_of(atlassian), first)
    assert second.unreadable["OPS-1/attachment/10001"].access == second.found["OPS-1"].access != first.found["OPS-1"].access


async def test_attachments_of_known_types_are_documents_and_credentials_do_not_follow_them(atlassian: AtlassianServer) -> None:
    media = AtlassianServer()
    with media:
        atlassian.media_url = media.url
        settings = ConnectorSettings(allowed_hosts=(atlassian.host, media.host))
        result = await visited(jira(atlassian, include_attachments=True), settings)
        assert {key for key in result.found if "/" in key} == {"OPS-1/attachment/10001"}
        found = result.found["OPS-1/attachment/10001"]
        assert found.access == Access.listed(groups=["employees"])
        assert found.title == "clock-log.txt"
        assert "authorization" not in media.requests[0].headers
    assert (await visited(jira(atlassian, include_attachments=True), settings, result)).unchanged == set(result.found)


async def test_the_jql_of_a_source_narrows_it_and_cannot_widen_it(atlassian: AtlassianServer) -> None:
    result = await visited(jira(atlassian, jql="labels = gateway"), site_of(atlassian))
    assert set(result.found) == {"OPS-1"}


def test_a_secret_is_not_sent_in_the_clear_nor_shown() -> None:
    with pytest.raises(PlaceRefused, match="https"):
        open_connector(JiraPlace("http://jira.example.com", ("A",), Secret("hidden")))
    assert "hidden" not in repr(JiraPlace("https://jira.example.com", ("A",), Secret("hidden")))


# Confluence.


def confluence(server: AtlassianServer, *spaces: str, **more: object) -> ConfluencePlace:
    return ConfluencePlace(server.url + "/wiki", spaces or ("HAND", "LAB"), Secret(TOKEN), USER, **more)  # type: ignore[arg-type]


async def test_pages_keep_their_space_and_tree(atlassian: AtlassianServer) -> None:
    result = await visited(confluence(atlassian), site_of(atlassian))
    assert set(result.found) == {"1000", "1001", "1002", "1003", "1004", "1100"}  # not the archived one
    found = result.found["1004"]
    assert found.metadata == {"space": "HAND", "space_name": "Handbook", "parent_id": "700", "ancestors": "Handbook > Operations"}
    assert (found.title, found.mime_type) == ("Deploying the gateway", HTML)
    assert found.uri == f"{atlassian.url}/wiki/spaces/HAND/pages/1004/Deploying+the+gateway"
    document = read_document(found.content, found.mime_type, found.uri, found.title)
    assert document.sections[0].anchor == "Roll-out"
    assert result.visit.complete


async def test_a_page_is_as_restricted_as_all_above_it(atlassian: AtlassianServer) -> None:
    atlassian.restrict("700", groups=["operations"])
    found = (await visited(confluence(atlassian), site_of(atlassian))).found
    assert found["1001"].access is None
    assert found["1002"].access == Access.listed(groups=["people-team", "board"])
    assert found["1003"].access == Access.listed(groups=["board"])
    assert found["1004"].access == Access.listed(groups=["operations"])
    atlassian.restrict("1000", users=["712020:maren"])
    found = (await visited(confluence(atlassian), site_of(atlassian))).found
    assert found["1001"].access == Access.listed(["712020:maren"])
    assert found["1003"].access == NOBODY  # Maren may be of the board; it is not told


async def test_who_may_read_a_page_that_cannot_be_read_is_told_nevertheless(atlassian: AtlassianServer) -> None:
    first = await visited(confluence(atlassian), site_of(atlassian))
    atlassian.restrict("1001", groups=["board"])
    atlassian.fail("pages/1001", code=500, times=-1)
    second = await visited(confluence(atlassian), site_of(atlassian), first)
    assert second.unreadable["1001"].access == Access.listed(groups=["board"])


async def test_restrictions_that_are_not_told_mean_nobody(atlassian: AtlassianServer) -> None:
    atlassian.fail("content/1000/restriction", code=403, times=-1)
    atlassian.put_page("1200", title="Orphan", parentId="4711", parentType="page", body="<p>x</p>", spaceId="901")
    atlassian.put_page("1201", title="Round", parentId="1202", parentType="page", body="<p>x</p>", spaceId="901")
    atlassian.put_page("1202", title="And round", parentId="1201", parentType="page", body="<p>x</p>", spaceId="901")
    found = (await visited(confluence(atlassian), site_of(atlassian))).found
    for page in ("1000", "1001", "1004", "1200", "1201", "1202"):
        assert found[page].access == NOBODY
    assert found["1100"].access is None


async def test_a_restriction_with_many_names_comes_in_pages(atlassian: AtlassianServer) -> None:
    atlassian.page_size = 4
    atlassian.restrict("1001", users=[f"712020:{number}" for number in range(9)], groups=["a"])
    access = (await visited(confluence(atlassian), site_of(atlassian))).found["1001"].access
    assert access == Access.listed([f"712020:{number}" for number in range(9)], ["a"])


async def test_only_pages_that_changed_are_read_again(atlassian: AtlassianServer) -> None:
    atlassian.page_size = 2
    first = await visited(confluence(atlassian), site_of(atlassian))
    atlassian.requests.clear()
    second = await visited(confluence(atlassian), site_of(atlassian), first)
    assert second.unchanged == set(first.found)
    assert not [asked for asked in atlassian.requests if "body-format" in asked.query]
    atlassian.put_page("1001", body="<p>Trains are booked by mail.</p>")
    atlassian.restrict("1004", groups=["operations"])
    atlassian.remove_page("1100")
    atlassian.put_page("1300", title="New", body="<p>New page.</p>", spaceId="901")
    third = await visited(confluence(atlassian), site_of(atlassian), second)
    assert set(third.found) == {"1001", "1004", "1300"}
    assert third.found["1004"].access == Access.listed(groups=["operations"])
    assert "1100" not in third.seen
    assert third.visit.complete


async def test_a_page_that_moves_or_is_renamed_above_is_found_again(atlassian: AtlassianServer) -> None:
    first = await visited(confluence(atlassian, "HAND"), site_of(atlassian))
    atlassian.put_page("1002", title="Pay and pensions")
    second = await visited(confluence(atlassian, "HAND"), site_of(atlassian), first)
    assert set(second.found) == {"1002", "1003"}
    assert second.found["1003"].metadata["ancestors"] == "Handbook > Pay and pensions"


async def test_a_space_that_is_not_there_loses_nothing(atlassian: AtlassianServer) -> None:
    with pytest.raises(PlaceRefused, match="NOPE"):
        await visited(confluence(atlassian, "HAND", "NOPE"), site_of(atlassian))
    atlassian.fail("restriction", code=500, times=-1)
    with pytest.raises(PlaceUnreachable):
        await visited(confluence(atlassian), site_of(atlassian))


async def test_attachments_of_pages_are_documents(atlassian: AtlassianServer) -> None:
    first = await visited(confluence(atlassian, include_attachments=True), site_of(atlassian))
    found = first.found["1001/attachment/att5001"]
    assert (found.content, found.title) == (b"Norway 72\nWales 41\n", "allowances.txt")
    assert found.uri == f"{atlassian.url}/wiki/download/attachments/1001/allowances.txt"
    second = await visited(confluence(atlassian, include_attachments=True), site_of(atlassian), first)
    assert second.unchanged == set(first.found)


@pytest.mark.parametrize("link", ["http://evil.example/wiki/api/v2/spaces", "//evil.example/x", "file:///x"])
async def test_a_next_page_that_leads_away_is_not_followed(link: str, atlassian: AtlassianServer) -> None:
    body = json.dumps({"results": [], "_links": {"next": link}})
    atlassian.fail("/api/v2/spaces", code=200, content=body, times=-1)
    with pytest.raises(PlaceRefused, match="elsewhere"):
        await visited(confluence(atlassian), site_of(atlassian))


@pytest.mark.parametrize("content", ["null", "[]", "3", '{"issues": 5}', '{"issues": [null, 7, {"key": "../../x"}, {"key": "OPS-1"}]}'])
async def test_answers_that_are_not_what_they_should_be_break_nothing(content: str, atlassian: AtlassianServer) -> None:
    atlassian.fail("search/jql", code=200, content=content, times=-1)
    result = await visited(jira(atlassian), site_of(atlassian))
    assert set(result.seen) <= {"OPS-1"}
