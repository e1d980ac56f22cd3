"""HTML to sections.

The text of `main`, else of the only `article`, else of `body`, without what is not read: navigation, page headers and
footers, scripts, hidden elements. An anchor is always an id (or the name of an `a`) that the page really has: that of the
heading, of an element that begins at the heading, or else the last one before it. Before the first id it is empty, the
top of the page. A slug of the heading's text is never made up here, as no browser would find it.

lxml parses (in C, linear in time, any depth) and the tree is walked without recursion.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from bs4.dammit import EncodingDetector
from lxml import etree

from services.retriever.structure import DocumentUnreadable, Outline, Rows, StructuredDocument, Table
from services.retriever.text_reader import decode

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_DROPPED = frozenset(
    """
    script style noscript template nav iframe object embed svg canvas audio video button select datalist input textarea head
    area map param source track dialog
    """.split()  # noqa: SIM905
)
_DROPPED_ROLES = frozenset(("navigation", "banner", "contentinfo", "search"))
# DocBook's, AsciiDoc's and Sphinx's names for what surrounds the text.
_DROPPED_NAMES = frozenset(("navheader", "navfooter", "footer", "headerlink", "breadcrumb", "breadcrumbs"))
_OUTSIDE_MAIN = frozenset(("header", "footer", "aside"))
_BLOCKS = frozenset(
    """
    address article aside blockquote body caption center details dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6
    header hr html legend li main menu ol p pre section summary table tbody td tfoot th thead tr ul
    """.split()  # noqa: SIM905
)
_LISTS = frozenset(("ul", "ol", "dl", "menu"))
_HIDDEN_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_SPACES = re.compile(r"[^\S\u00a0]+")


def read_html(content: bytes) -> StructuredDocument:
    """Reads by byte order mark, `meta charset` or XML declaration, else as UTF-8.

    Raises DocumentUnreadable for text that is not valid in that encoding, and for a page without visible text.
    """
    declared = EncodingDetector.find_declared_encoding(content, is_html=True, search_entire_document=False)
    # The HTML standard reads these labels as Windows-1252: https://encoding.spec.whatwg.org/#names-and-labels
    declared = "cp1252" if (declared or "").lower() in ("iso-8859-1", "latin1", "latin-1", "ascii", "us-ascii") else declared
    root = parse(decode(content, declared))
    if root is None:
        raise DocumentUnreadable("The page holds no text.")
    outline = Outline()
    walk(_main(root), outline)
    sections = outline.finish()
    title = "" if any(section.heading_path for section in sections) else _words(root.findtext(".//head/title") or "")
    return StructuredDocument(title=title, sections=sections)


def parse(text: str) -> etree._Element | None:
    """The tree of a page or a fragment; None when there is nothing in it."""
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True, no_network=True)
    try:
        return etree.fromstring(text.encode("utf-8"), parser)
    except etree.XMLSyntaxError as exc:
        if not text.strip() or "Document is empty" in str(exc):
            return None
        raise DocumentUnreadable(f"The page cannot be read as HTML: {exc}.") from exc


def walk(root: etree._Element, outline: Outline, anchor_of: Callable[[str], str] | None = None) -> None:
    """Adds the headings and blocks below an element to an outline, in the order of the page.

    `anchor_of` makes the anchor of a heading that has none of its own, for fragments whose host gives it one.
    """
    inside_main = root.tag in ("main", "article") or root.get("role") == "main"
    title = root.find(".//h1")
    kept = set() if title is None else set(title.iterancestors())
    walker = _Walker(outline, anchor_of)
    skip: etree._Element | None = None
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if skip is not None:
            if event == "start" or element is not skip:
                continue
            skip = None
        elif event == "start":
            if element is root or not _dropped(element, inside_main, kept):
                walker.start(element)
            else:
                skip = element
            continue
        else:
            walker.end(element)
        if element is not root:
            walker.text(element.tail)
    walker.finish()


def _main(root: etree._Element) -> etree._Element:
    for found in (root.findall(".//main"), root.findall(".//*[@role='main']"), root.findall(".//article")):
        if len(found) == 1 and any(text.strip() for text in found[0].itertext()):
            return found[0]
    body = root.find(".//body")
    return root if body is None else body


def _dropped(element: etree._Element, inside_main: bool, around_title: set[etree._Element]) -> bool:
    tag = element.tag
    if tag in _DROPPED or "hidden" in element.attrib or element.get("aria-hidden") == "true":
        return True
    if element.get("role") in _DROPPED_ROLES or _HIDDEN_STYLE.search(element.get("style") or ""):
        return True
    names = {*(element.get("class") or "").lower().split(), (element.get("id") or "").lower()}
    if names & _DROPPED_NAMES:
        return True
    return tag in _OUTSIDE_MAIN and not inside_main and element not in around_title


class _Walker:
    """Puts together what lies between the tags."""

    def __init__(self, outline: Outline, anchor_of: Callable[[str], str] | None) -> None:
        self._outline = outline
        self._anchor_of = anchor_of
        self._text: list[str] = []
        self._pre = 0
        self._level = 0  # of the heading that is open, 0 when none is
        self._in_term = False
        self._numbers: list[int] = []  # for each open list the number of its next item, 0 for bullets
        self._terms: list[str] = []  # of a definition that has not begun
        self._tables: list[_TableText | None] = []  # None: a table that only arranges
        self._last_anchor = ""
        self._anchors: list[str] = []  # seen since the last visible text, the best last
        self._own_anchor = ""  # that of the open heading

    def text(self, text: str | None) -> None:
        if not text:
            return
        self._text.append(text if self._pre else _SPACES.sub(" ", text))
        if not self._level and not text.isspace():
            self._anchors.clear()

    def start(self, element: etree._Element) -> None:
        tag = element.tag
        table = self._tables[-1] if self._tables else None
        self._see_anchor(element, tag)
        if tag == "br":
            self._text.append(" " if self._level or table else "\n")
        elif tag == "img":
            self.text(element.get("alt"))
        elif tag in _BLOCKS and table is not None:
            table.start(tag, self._take())
        elif tag in _BLOCKS:
            self._flush()
            self._start_block(element, tag)
        self.text(element.text)

    def end(self, element: etree._Element) -> None:
        tag = element.tag
        table = self._tables[-1] if self._tables else None
        if tag not in _BLOCKS:
            return
        if table is not None:
            table.end(tag, self._take())
            if table.block is not None:
                self._tables.pop()
                self._outline.block(table.block)
        elif tag in _HEADINGS and self._level:
            self._end_heading(_HEADINGS[tag])
        elif tag == "pre":
            self._end_pre()
        elif tag == "dt":
            self._in_term = False
            self._terms.append(_words(self._take()))
        else:
            self._flush()
            if tag in _LISTS:
                self._end_terms()
                self._outline.close_list()
                self._numbers.pop()
            elif tag == "table":
                self._tables.pop()

    def finish(self) -> None:
        self._flush()
        self._end_terms()

    def _flush(self) -> None:
        """Ends a paragraph."""
        if self._level or self._in_term or self._pre:
            self._text.append("\n" if self._pre else " ")
        else:
            self._outline.block("\n".join(filter(None, map(_words, self._take().split("\n")))))

    def _start_block(self, element: etree._Element, tag: str) -> None:
        if tag in _HEADINGS:
            self._level = _HEADINGS[tag]
        elif tag == "pre":
            self._pre += 1
        elif tag in _LISTS:
            self._numbers.append(int(tag == "ol"))
            self._outline.open_list()
        elif tag == "li":
            number = self._numbers[-1] if self._numbers else 0
            if number:
                self._numbers[-1] += 1
            self._outline.item(f"{number}. " if number else "- ")
        elif tag == "dt":
            self._in_term = True
        elif tag == "dd":
            self._outline.item(f"- {', '.join(self._terms)}: " if self._terms else "- ")
            self._terms = []
        elif tag == "table":
            self._tables.append(None if _arranges(element) else _TableText())

    def _see_anchor(self, element: etree._Element, tag: str) -> None:
        name = (element.get("id") or (element.get("name") if tag == "a" else None) or "").strip()
        if not name:
            return
        if self._level or (tag in _HEADINGS and not self._tables):
            self._own_anchor = self._own_anchor or name
        elif tag == "a":
            self._anchors.insert(0, name)  # an element that encloses the heading names it better than a mark before it
        else:
            self._anchors.append(name)
        self._last_anchor = name

    def _end_heading(self, level: int) -> None:
        text = _words(self._take())
        self._level = 0
        if not text:
            return
        anchor = self._own_anchor or (self._anchors[-1] if self._anchors else "")
        if not anchor:
            anchor = self._anchor_of(text) if self._anchor_of else self._last_anchor
        self._own_anchor = ""
        self._anchors.clear()
        self._outline.heading(level, text, anchor)

    def _end_pre(self) -> None:
        self._pre = max(0, self._pre - 1)
        if not self._pre:
            lines = [line.rstrip() for line in self._take().split("\n")]
            self._outline.block(Rows("\n".join(lines).strip("\n")))

    def _end_terms(self) -> None:
        if self._terms:
            self._outline.item("- " + ", ".join(self._terms))
            self._terms = []

    def _take(self) -> str:
        text = "".join(self._text)
        self._text.clear()
        return text


class _TableText:
    """A table becomes one line a row, cells parted by ` | `. A table within a cell becomes text of the cell."""

    def __init__(self) -> None:
        self._rows: list[list[str]] = []
        self._cell: list[str] = []
        self._caption = ""
        self._depth = 1
        self._header = False
        self._plain_cells = 0
        self.block: str | None = None  # once the table has ended

    def start(self, tag: str, before: str) -> None:
        self._cell.append(before)
        if tag == "table":
            self._depth += 1
        elif self._depth == 1 and tag == "tr":
            self._end_row()
        elif self._depth == 1 and tag in ("td", "th"):
            self._end_cell()
            if not self._rows:
                self._rows.append([])
            if len(self._rows) == 1:
                self._plain_cells += tag == "td"

    def end(self, tag: str, before: str) -> None:
        self._cell.append(before)
        self._cell.append(" ")
        if tag == "table":
            self._depth -= 1
            if self._depth == 0:
                self._end_row()
                self._finish()
        elif self._depth == 1 and tag in ("td", "th"):
            self._end_cell(empty_too=True)
        elif self._depth == 1 and tag == "caption":
            self._caption = _words("".join(self._cell))
            self._cell.clear()
        elif self._depth == 1 and tag == "thead" and len(self._rows) >= 1:
            self._header = True

    def _end_cell(self, empty_too: bool = False) -> None:
        text = _words("".join(self._cell))
        self._cell.clear()
        if self._rows and (text or empty_too):
            self._rows[-1].append(text)
        elif text:
            self._rows.append([text])

    def _end_row(self) -> None:
        self._end_cell()
        if not self._rows or self._rows[-1]:
            self._rows.append([])

    def _finish(self) -> None:
        rows = [row for row in self._rows if any(row)]
        lines = [" | ".join(row).strip() for row in rows]
        if not lines:
            self.block = self._caption
            return
        header = (self._header or self._plain_cells == 0) and len(rows) > 1
        if self._caption and header:
            lines[0] = f"{self._caption} — {lines[0]}"
        elif self._caption:
            lines.insert(0, self._caption)
        self.block = Table("\n".join(lines)) if header else Rows("\n".join(lines))


def _arranges(table: etree._Element) -> bool:
    """Whether a table only arranges other blocks: it says so, or is one row without header cells, or holds headings."""
    if table.get("role") == "presentation":
        return True
    rows = 0
    for element in table.iter("tr", "th", "h1", "h2", "h3", "h4", "h5", "h6", "table"):
        if element.tag in _HEADINGS or (element.tag == "table" and element is not table):
            return True
        if element.tag == "th":
            return False
        rows += element.tag == "tr"
        if rows > 1:
            return False
    return True


def _words(text: str) -> str:
    return " ".join(text.split())
