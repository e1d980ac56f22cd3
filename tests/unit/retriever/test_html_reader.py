"""HTML becomes the text of the page and anchors that the page really has."""

from __future__ import annotations

import pytest

from services.retriever.html_reader import read_html
from services.retriever.structure import DocumentUnreadable, Items, Rows, Section, Table


def sections(html: str) -> tuple[Section, ...]:
    return read_html(html.encode()).sections


def blocks(html: str) -> tuple[str, ...]:
    return sections(html)[0].blocks


@pytest.mark.parametrize(
    ("html", "anchor"),
    [
        ('<h2 id="own">H</h2>', "own"),
        ('<h2><a name="in"></a>H</h2>', "in"),
        ('<h2>H <span id="in">x</span></h2>', "in"),
        ('<p>t</p><section id="sec"><h2>H</h2></section>', "sec"),
        ('<p>t</p><div id="sec"><div><a id="mark"></a></div><h2>H</h2></div>', "sec"),
        ('<p>t</p><a name="before"></a><h2>H</h2>', "before"),
        ('<h1 id="last">A</h1><p>t</p><h2>H</h2>', "last"),
        ('<div id="sec"><p id="par">t</p><h2>H</h2></div>', "par"),
        ("<h1>A</h1><p>t</p><h2>H</h2>", ""),
    ],
)
def test_an_anchor_is_the_nearest_one_that_the_page_has(html: str, anchor: str) -> None:
    found = sections(html + "<p>text</p>")[-1]
    assert found.blocks == ("text",)
    assert found.anchor == anchor


@pytest.mark.parametrize(
    "noise",
    [
        "<nav>menu</nav>", "<script>x()</script>", "<style>p{}</style>", "<noscript>on</noscript>", "<template>t</template>",
        "<p hidden>h</p>", '<p style="color:red; Display : none">h</p>', '<div aria-hidden="true">h</div>', "<header>logo</header>",
        "<footer>legal</footer>", "<aside>adverts</aside>", '<div class="navheader">Prev</div>', '<div id="footer">updated</div>',
        '<div role="navigation">n</div>', "<!-- comment -->", "<svg><text>s</text></svg>", "<select><option>o</option></select>",
    ],
)  # fmt: skip
def test_what_is_not_read_is_left_out_and_what_follows_stays(noise: str) -> None:
    assert blocks(f"<p>a</p>{noise}tail<p>b</p>") == ("a", "tail", "b")


def test_only_main_is_read_where_there_is_one_and_its_own_header_stays() -> None:
    assert [s.heading_path for s in sections("<h1>Site</h1><main><header><h1>Page</h1></header>text</main><p>more</p>")] == [("Page",)]
    assert blocks("<article>one</article><article>two</article>") == ("one", "two")
    assert blocks("<body><p>before</p><article>only</article></body>") == ("only",)


def test_a_page_header_with_the_title_stays() -> None:
    assert sections("<body><header><h1>Page</h1></header><p>text</p></body>")[0].heading_path == ("Page",)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>a<b>b</b>c <i>d</i>\n e<br>f &nbsp; &lt;g&gt;</p>", ("abc d e\nf <g>",)),
        ("<p>a<img alt='picture'>b</p>", ("a picture b",)),
        ("<ul><li>a<li>b<ol start=5><li>c<li value=9>d</ol><li><p>e</p><p>f</p></ul>", ("- a\n- b\n  5. c\n  9. d\n- e\n  f",)),
        ("<dl><dt>a<dt>b<dd>one<p>two</p><dt>c<dd></dl>", ("- a, b: one\n  two\n- c",)),
        ("<dl><dt>a</dt><dd><pre> x\n  y</pre></dd></dl>", ("- a:  x\n    y",)),
        ("<pre>\n  a\n\n    b &amp; c\n</pre>", ("  a\n\n    b & c",)),
        ("<details><summary>more</summary>text</details>", ("more", "text")),
        ("<table><tr><td>note</td><td><p>one</p><p>two</p></td></tr></table>", ("note", "one", "two")),
        ("<table><tr><td>1</td><td>2</td></tr><tr><td>3</td><td></td></tr></table>", ("1 | 2\n3 |",)),
        ("<table><caption>C</caption><tr><th>a<th>b<tr><td>1<td>x<br>y</table>", ("C — a | b\n1 | x y",)),
        ("<table><thead><tr><td>a</td></tr></thead><tr><td>1<table><tr><td>in</td></tr></table></td></tr></table>", ("a\n1 in",)),
    ],
)
def test_blocks(html: str, expected: tuple[str, ...]) -> None:
    assert blocks(html) == expected


def test_blocks_say_how_they_may_be_cut() -> None:
    html = "<p>p</p><ul><li>a</ul><pre>c</pre><table><tr><th>h<tr><td>1</table><table><tr><td>1<tr><td>2</table>"
    assert [type(block) for block in blocks(html)] == [str, Items, Rows, Table, Rows]


@pytest.mark.parametrize(
    "content",
    [
        '<meta charset="iso-8859-1"><p>Größe'.encode("latin-1"),
        '<meta http-equiv="Content-Type" content="text/html; charset=windows-1252"><p>Größe'.encode("cp1252"),
        '<?xml version="1.0" encoding="iso-8859-15"?><html><p>Größe</p></html>'.encode("iso-8859-15"),
        '<meta charset="latin-1"><p>Größe'.encode("utf-8-sig"),
        "<p>Größe".encode(),
        "<p>Größe".encode("utf-16"),
    ],
)
def test_the_encoding_is_taken_from_mark_or_declaration_else_utf_8(content: bytes) -> None:
    assert read_html(content).sections[0].blocks == ("Größe",)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(DocumentUnreadable, match="klingon"):
        read_html(b'<meta charset="klingon"><p>x')


def test_too_many_attributes_are_refused_and_long_values_are_not() -> None:
    with pytest.raises(DocumentUnreadable, match="attributes"):
        read_html(("<p " + "a=1 " * 2000 + ">x").encode())
    assert blocks(f"<p class='{'a ' * 2000}' title=\"{'=' * 9000}\">x") == ("x",)
