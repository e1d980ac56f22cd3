"""Markdown to sections: CommonMark with GitHub's tables, strikethrough and footnotes, and front matter.

Links become their text, pictures their description; HTML tags and comments go, HTML blocks are read as HTML.
A heading's anchor is its explicit one (`<a name="x"></a>` in it or alone before it, `{#x}` after it), else GitHub's slug.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.front_matter import front_matter_plugin

from services.retriever import html_reader
from services.retriever.anchors import Slugger
from services.retriever.structure import DocumentTooLarge, DocumentUnreadable, Outline, Rows, StructuredDocument, Table
from services.retriever.text_reader import decode

MAX_NESTING = 60
MAX_LINES_AND_CELLS = 100_000
"""So much takes about 5 s and 450 MB: the parser keeps some five objects for each."""
MAX_INLINE_CHARS = 30_000
"""A longer paragraph is taken as it is written: resolving its emphasis and links takes time that grows with the square."""

_EXPLICIT_ID = re.compile(r"\s*\{#([^\s{}]{1,200})\}\s*$")
_NAMED = re.compile(r"""<[^>]*?\s(?:name|id)\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
_ONLY_ANCHORS = re.compile(r"(?:\s*<a\s+(?:name|id)\s*=[^<>]*>\s*(?:</a\s*>)?)+\s*", re.IGNORECASE)
_FRONT_TITLE = re.compile(r"""^title[ \t]*:[ \t]*(["']?)(.+?)\1[ \t]*$""", re.MULTILINE)
_TAG = re.compile(r"</?([A-Za-z][A-Za-z0-9-]*)[^>]*>")
_HTML_ELEMENTS = frozenset(
    """
    a abbr acronym address area article aside audio b base bdi bdo big blockquote body br button canvas caption center cite code col
    colgroup data datalist dd del details dfn dialog dir div dl dt em embed fieldset figcaption figure font footer form frame h1 h2 h3
    h4 h5 h6 head header hr html i iframe img input ins kbd label legend li link main map mark menu meta meter nav noscript object ol
    optgroup option output p param picture pre progress q rp rt ruby s samp script section select slot small source span strike
    strong style sub summary sup table tbody td template textarea tfoot th thead time title tr track tt u ul var video wbr
    """.split()  # noqa: SIM905
)


def read_markdown(content: bytes) -> StructuredDocument:
    """Raises DocumentUnreadable for bytes that are not UTF-8 and for quotes or lists nested too deeply, and DocumentTooLarge."""
    outline = Outline()
    walker = _Walker(outline)
    text = decode(content)
    if _lines_and_cells(text) > MAX_LINES_AND_CELLS:
        raise DocumentTooLarge(f"The document has more than {MAX_LINES_AND_CELLS:,} lines and table cells. Split it.")
    parser = _parser()
    env: dict[str, Any] = {}
    walker.read(parser.parse(text, env), parser, env)
    return StructuredDocument(title=walker.title, sections=outline.finish())


def _lines_and_cells(text: str) -> int:
    """How many there are at most: the parser fills up every row of a table to the columns of its header."""
    total, rows, columns = 0, 0, 1
    for line in [*text.split("\n"), ""]:
        if line.strip():
            rows += 1
            if "|" in line and not line.strip("|:-+*> \t0123456789.)"):
                columns = max(columns, line.count("|") + 1)
        else:
            total, rows, columns = total + 1 + rows * columns, 0, 1
    return total


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"maxNesting": MAX_NESTING}).enable(["table", "strikethrough"])
    front_matter_plugin(parser)
    footnote_plugin(parser, inline=False, move_to_end=False)
    parser.core.ruler.disable(["inline", "text_join"])  # done paragraph by paragraph in `_Walker._inline`
    return parser


class _Walker:
    """Turns the parser's tokens into headings and blocks."""

    def __init__(self, outline: Outline) -> None:
        self.title = ""
        self._outline = outline
        self._slugger = Slugger()
        self._level = 0  # of the heading that is open, 0 when none is
        self._pending_anchor = ""  # of an anchor that stands alone, for the heading that follows
        self._numbers: list[int | None] = []  # for each open list the number of its next item, None for bullets
        self._rows: list[list[str]] | None = None  # of the table that is open

    def read(self, tokens: Sequence[Token], parser: MarkdownIt, env: dict[str, Any]) -> None:
        for token in tokens:
            if token.level >= MAX_NESTING - 1:
                raise DocumentUnreadable(f"The document has quotes or lists nested deeper than {MAX_NESTING // 2}.")
            if token.type == "inline":
                self._inline(token.content, parser, env)
            elif token.type == "heading_open":
                self._level = int(token.tag[1])
            elif token.type in ("bullet_list_open", "ordered_list_open"):
                self._numbers.append(int(token.attrs.get("start", 1)) if token.tag == "ol" else None)
                self._outline.open_list()
            elif token.type in ("bullet_list_close", "ordered_list_close"):
                self._numbers.pop()
                self._outline.close_list()
            elif token.type == "list_item_open":
                self._item()
            elif token.type in ("fence", "code_block"):
                self._block(Rows(token.content.rstrip("\n")))
            elif token.type == "html_block":
                self._html(token.content)
            elif token.type == "table_open":
                self._rows = []
            elif token.type == "tr_open" and self._rows is not None:
                self._rows.append([])
            elif token.type == "table_close" and self._rows is not None:
                rows, self._rows = self._rows, None
                self._block(Table("\n".join(" | ".join(row).strip() for row in rows if any(row))))
            elif token.type == "front_matter":
                found = _FRONT_TITLE.search(token.content)
                self.title = found.group(2) if found else ""

    def _item(self) -> None:
        number = self._numbers[-1]
        self._outline.item("- " if number is None else f"{number}. ")
        if number is not None:
            self._numbers[-1] = number + 1

    def _inline(self, source: str, parser: MarkdownIt, env: dict[str, Any]) -> None:
        if self._rows is None and not self._level and _ONLY_ANCHORS.fullmatch(source):
            self._pending_anchor = _names(source)
            return
        children: list[Token] = []
        if len(source) <= MAX_INLINE_CHARS:
            parser.inline.parse(source, parser, env, children)
            text = _text(children)
        else:
            text = source
        if self._rows is not None:
            self._rows[-1].append(" ".join(text.split()))
        elif self._level:
            self._heading(" ".join(text.split()), children)
        else:
            self._block("\n".join(filter(None, (" ".join(line.split()) for line in text.split("\n")))))

    def _heading(self, text: str, children: Sequence[Token]) -> None:
        level, self._level = self._level, 0
        explicit = _EXPLICIT_ID.search(text)
        if explicit:
            text = text[: explicit.start()]
        markup = "".join(child.content for child in children if child.type == "html_inline")
        own = explicit.group(1) if explicit else _names(markup)
        slug = self._slugger.anchor(text)
        if text:
            self._outline.heading(level, text, own or self._pending_anchor or slug)
        self._pending_anchor = ""

    def _html(self, source: str) -> None:
        if _ONLY_ANCHORS.fullmatch(source):
            self._pending_anchor = _names(source)
            return
        root = html_reader.parse(source)
        if root is not None:
            html_reader.walk(root, self._outline, self._slugger.anchor)

    def _block(self, block: str) -> None:
        self._pending_anchor = ""
        self._outline.block(block)


def _names(markup: str) -> str:
    found = _NAMED.search(markup)
    return unescape(found.group(1)) if found else ""


def _text(children: Sequence[Token]) -> str:
    """What a reader of the rendered page sees; a line feed where a line ends on purpose."""
    parts = []
    for child in children:
        if child.type in ("text", "text_special", "code_inline"):
            parts.append(child.content)
        elif child.type == "softbreak":
            parts.append(" ")
        elif child.type == "hardbreak":
            parts.append("\n")
        elif child.type == "image":
            parts.append(_text(child.children or ()))
        elif child.type == "html_inline":
            tag = _TAG.fullmatch(child.content)
            name = tag.group(1).lower() if tag else ""
            if name == "br":
                parts.append("\n")
            elif tag and name not in _HTML_ELEMENTS:
                parts.append(child.content)  # `<region>`: a placeholder, which was meant to be read
    return "".join(parts)
