"""Markdown becomes what a reader of the rendered page sees."""

from __future__ import annotations

import pytest

from services.retriever.markdown_reader import MAX_NESTING, read_markdown
from services.retriever.structure import DocumentTooLarge, DocumentUnreadable, Items, Rows, Section, Table


def sections(text: str) -> tuple[Section, ...]:
    return read_markdown(text.encode()).sections


def blocks(text: str) -> tuple[str, ...]:
    return sections(text)[0].blocks


def test_headings_make_paths_and_a_deeper_one_ends_with_its_parent() -> None:
    read = sections("before\n\n# A\n\na\n\n### C\n\nc\n\n## B\n\nb\n\n# D\n\nd\n")
    assert [(s.heading_path, s.anchor, s.blocks) for s in read] == [
        ((), "", ("before",)),
        (("A",), "a", ("a",)),
        (("A", "C"), "c", ("c",)),
        (("A", "B"), "b", ("b",)),
        (("D",), "d", ("d",)),
    ]


@pytest.mark.parametrize(
    ("heading", "text", "anchor"),
    [
        ('# Title<a name="API_x"></a>', "Title", "API_x"),
        ("# Title <a id='y'></a>", "Title", "y"),
        ("# Title {#own-id}", "Title", "own-id"),
        ('<a name="alone"></a>\n# Title', "Title", "alone"),
        ('<a name="alone"></a>\n\n# Title', "Title", "alone"),
        ("Title\n=====", "Title", "title"),
        ("# The `code` of **[a link](http://h)** &amp; more", "The code of a link & more", "the-code-of-a-link--more"),
        ("# Escaped \\[Box\\]", "Escaped [Box]", "escaped-box"),
        ('<h1 align="center">Title</h1>', "Title", "title"),
        ('<h1 id="real">Title</h1>', "Title", "real"),
    ],
)
def test_a_heading_has_no_markup_and_its_explicit_anchor_or_its_slug(heading: str, text: str, anchor: str) -> None:
    (section,) = sections(f"{heading}\n\nbody")
    assert (section.heading_path, section.anchor, section.blocks) == ((text,), anchor, ("body",))


def test_an_anchor_before_a_paragraph_is_not_that_of_a_later_heading() -> None:
    assert sections('<a name="x"></a>\ntext\n\n# A\n\na')[-1].anchor == "a"


def test_repeated_headings_have_anchors_of_their_own() -> None:
    assert [s.anchor for s in sections("# A\n\nx\n\n# A\n\nx\n\n# A\n\nx")] == ["a", "a-1", "a-2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a [link](http://h 'title') and <http://auto>", "a link and http://auto"),
        ("![a picture](p.png) &copy; &#65;", "a picture © A"),
        ("seen <!-- not\nseen --> again", "seen again"),
        ("soft\nbreak and  \nhard\\\nbreaks<br>here", "soft break and\nhard\nbreaks\nhere"),
        ("`a  < b` **c**_d_ ~~e~~", "a < b cd e"),
        ("<b>bold</b> <region> s3://<name of your bucket>/", "bold <region> s3://<name of your bucket>/"),
        ("<div>\n\ninside\n\n</div>", "inside"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a | b\n1 | 2"),
        ("> quoted\n> text", "quoted text"),
        ("fact[^1]\n\n[^1]: word", "fact"),
    ],
)
def test_a_paragraph_is_what_is_seen(text: str, expected: str) -> None:
    assert blocks(text)[0] == expected


def test_a_footnote_stays_in_its_section() -> None:
    assert sections("# A\n\nfact[^1]\n\n[^1]: the note\n\n# B\n\nb")[0].blocks == ("fact", "the note")


def test_lists_are_one_block_with_true_numbers_and_nested_content() -> None:
    text = "3. three\n3. four\n   - sub\n\n     more\n\n   ```\n   code  here\n   ```\n\nafter"
    block, after = blocks(text)
    assert isinstance(block, Items)
    assert block == "3. three\n4. four\n  - sub\n    more\n  code  here"
    assert after == "after"


def test_tables_code_and_html_scripts() -> None:
    read = blocks("| a | b |\n|---|:-:|\n| 1 | x \\| y |\n| 2 |\n\n```py\ndef f():\n\n    return 1\n```\n\n<script>alert(1)</script>")
    assert read == ("a | b\n1 | x | y\n2 |", "def f():\n\n    return 1")
    assert [type(block) for block in read] == [Table, Rows]


def test_front_matter_gives_the_title_and_is_not_text() -> None:
    read = read_markdown(b'---\ntitle: "My page"\ntags: [a]\n---\n\ntext')
    assert read.title == "My page"
    assert read.sections[0].blocks == ("text",)


def test_a_paragraph_too_long_for_the_inline_parser_is_kept_as_written() -> None:
    assert blocks("word *and* " * 5000)[0].startswith("word *and* word")


def test_nesting_and_length_have_limits() -> None:
    assert blocks("> " * 25 + "deep") == ("deep",)
    with pytest.raises(DocumentUnreadable, match="nested deeper"):
        sections("> " * MAX_NESTING + "deep")
    with pytest.raises(DocumentTooLarge, match="100,000 lines"):
        sections("a\n" * 100_001)
    with pytest.raises(DocumentTooLarge, match="table cells"):
        sections(("|a" * 300 + "\n" + "|-" * 300 + "\n" + "|\n" * 300 + "\n") * 2)
