"""Bodies of Jira and Confluence as text: documents, wiki markup, storage format."""

from __future__ import annotations

import time
from typing import Any

import pytest

from services.retriever.connectors.atlassian_document import adf_text
from services.retriever.connectors.storage_format import page_html
from services.retriever.connectors.wiki_markup import wiki_text
from services.retriever.html_reader import read_html
from services.retriever.text_reader import paragraphs


def text(value: str, *marks: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": value, "marks": list(marks)}


def node(kind: str, *content: Any, **attrs: Any) -> dict[str, Any]:
    return {"type": kind, "content": list(content), "attrs": attrs}


def para(value: str) -> dict[str, Any]:
    return node("paragraph", text(value))


@pytest.mark.parametrize(
    ("block", "written"),
    [
        (node("heading", text("Steps"), level=2), "## Steps"),
        (para("plain"), "plain"),
        (node("paragraph", text("a"), {"type": "hardBreak"}, text("b")), "a\nb"),
        (node("paragraph", text("see "), text("docs", {"type": "link", "attrs": {"href": "https://x.example"}})), "see docs (https://x.example)"),
        (node("paragraph", text("run"), text("x", {"type": "code"})), "run`x`"),
        (node("paragraph", {"type": "mention", "attrs": {"id": "1", "text": "@Ada"}}), "@Ada"),
        (node("paragraph", {"type": "date", "attrs": {"timestamp": "1740000000000"}}), "2025-02-19"),
        (node("paragraph", {"type": "inlineCard", "attrs": {"url": "https://x.example/1"}}), "https://x.example/1"),
        (node("bulletList", node("listItem", para("a"), node("bulletList", node("listItem", para("b"))))), "- a\n  - b"),
        (node("orderedList", node("listItem", para("a")), node("listItem", para("b")), order=3), "3. a\n4. b"),
        (node("taskList", node("taskItem", text("done"), state="DONE"), node("taskItem", text("open"))), "- [x] done\n- [ ] open"),
        (node("codeBlock", text("a = 1\n  b")), "    a = 1\n      b"),
        (node("panel", para("careful"), panelType="warning"), "careful"),
        (node("expand", para("inside"), title="More"), "More\n\ninside"),
        (node("table", node("tableRow", node("tableHeader", para("A")), node("tableCell", para("x\ny")))), "  A | x y"),
        (node("unheardOf", para("still read")), "still read"),
        ({"type": "mediaSingle", "content": [{"type": "media", "attrs": {"alt": "A chart"}}]}, "A chart"),
    ],
)  # fmt: skip
def test_each_node_of_a_document_has_its_text(block: dict[str, Any], written: str) -> None:
    assert adf_text(node("doc", block)) == written


@pytest.mark.parametrize(
    "body", [None, 7, "x", [], {}, {"content": 3}, {"content": [None, 1, {"type": 5}]}, {"type": "doc", "content": {"a": 1}}]
)
def test_what_is_no_document_has_no_text(body: Any) -> None:
    assert adf_text(body) == ""


def test_a_document_nested_without_end_is_cut() -> None:
    deep: dict[str, Any] = para("deep")
    for _ in range(500):
        deep = node("blockquote", deep)
    assert adf_text(node("doc", para("top"), deep)) == "top"


@pytest.mark.parametrize(
    ("markup", "written"),
    [
        ("h2. Steps", "## Steps"),
        ("*bold* _it_ -gone- +in+ {{code}}", "bold it gone in `code`"),
        ("*_both_*", "both"),
        ("2*3*4 and a-b-c and snake_case_name", "2*3*4 and a-b-c and snake_case_name"),
        ("[docs|https://x.example|smart-link]", "docs (https://x.example)"),
        ("[https://x.example] a[0] [~accountid:5b1]", "https://x.example a[0] @5b1"),
        ("* a\n** b\n# c", "- a\n  - b\n1. c"),
        ("before\n* a\nafter", "before\n\n- a\n\nafter"),
        ("||A||B||\n|1|[x|http://y.example]|", "  A | B\n  1 | x (http://y.example)"),
        ("{code:java}\nint a = *b*;\n{code}", "    int a = *b*;"),
        ("{noformat}\n{code}\n{noformat}", "    {code}"),
        ("{quote}said{quote}", "said"),
        ("bq. said", "said"),
        ("{panel:title=X}in{panel}", "in"),
        ("!chart.png|width=300!", "chart.png"),
        ("{code} never closed", "{code} never closed"),
        (r"\*no\*", "*no*"),
        ("a\n----\nb", "a\nb"),
        ("", ""),
    ],
)
def test_wiki_markup_becomes_text(markup: str, written: str) -> None:
    assert wiki_text(markup) == written


@pytest.mark.parametrize("unit", ["*a", "[", "{code}", "{{", "_ ", "!a", "|", "??a", "-a ", "{color:", "h1. ", "\\", "[a|"])
def test_hostile_markup_takes_time_in_proportion(unit: str) -> None:
    began = time.monotonic()
    wiki_text(unit * (60_000 // len(unit)))
    assert time.monotonic() - began < 2.0


def test_code_and_tables_stay_line_by_line() -> None:
    blocks = paragraphs(wiki_text("{code}\na\n b\n{code}\n\n||A||B||\n|1|2|"))
    assert [type(block).__name__ for block in blocks] == ["Rows", "Rows"]


STORAGE = """<h1>Guide</h1><ac:structured-macro ac:name="toc"/>
<p>Ask&nbsp;<ac:link><ri:page ri:content-title="The form"/></ac:link> &amp; wait.</p>
<h2>Set up</h2><ac:structured-macro ac:name="code"><ac:parameter ac:name="language">c</ac:parameter>
<ac:plain-text-body><![CDATA[if (a < b && c) { x("&copy;"); }]]></ac:plain-text-body></ac:structured-macro>
<ac:structured-macro ac:name="expand"><ac:parameter ac:name="title">More</ac:parameter>
<ac:rich-text-body><p>Hidden <strong>part</strong></p></ac:rich-text-body></ac:structured-macro><h2>Set up</h2>
<p><ac:link ac:anchor="x"><ac:plain-text-link-body><![CDATA[a link]]></ac:plain-text-link-body></ac:link>
<ac:image ac:alt="A chart"><ri:attachment ri:filename="c.png"/></ac:image></p>
<ac:task-list><ac:task><ac:task-id>1</ac:task-id><ac:task-status>incomplete</ac:task-status>
<ac:task-body>Do it</ac:task-body></ac:task></ac:task-list>
<script>alert(1)</script><p onclick="x()" style="display:none">shown</p><custom:thing>kept</custom:thing>"""
SAID = (
    'if (a < b && c) { x("&copy;"); }',
    "Ask The form & wait.",
    "More",
    "Hidden part",
    "a link",
    "A chart",
    "[ ] Do it",
    "shown",
    "kept",
)


def test_storage_format_becomes_a_page_that_the_reader_reads() -> None:
    document = read_html(page_html(STORAGE, "Guide"))
    assert [(section.heading_path, section.anchor) for section in document.sections] == [
        (("Guide",), "Guide"), (("Guide", "Set up"), "Set-up"), (("Guide", "Set up"), "Set-up.1"),
    ]  # fmt: skip
    said = "\n".join(block for section in document.sections for block in section.blocks)
    for part in SAID:
        assert part in said.replace("\xa0", " ")
    assert "alert" not in said


@pytest.mark.parametrize(
    "storage",
    [
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><p>text &a; on</p>',
        "<p>text <b>never closed <ac:link>",
        "text &unknown; &#0; &",
        "<p>text</p></body><p>after</p>",
        "\x00\x0btext",
        "<p>text</p>" + "<div>" * 5_000,
        "text" + "<![CDATA[" * 10_000,
    ],
)
def test_broken_and_hostile_storage_format_is_read_as_far_as_it_goes(storage: str) -> None:
    began = time.monotonic()
    html = page_html(storage, "T").decode()
    assert "text" in html
    assert "root:" not in html
    assert time.monotonic() - began < 2.0
