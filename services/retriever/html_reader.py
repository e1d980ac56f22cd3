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

from services.retriever.html_tables import HEADINGS, TableText, arranges, words
from services.retriever.structure import DocumentHasNoText, DocumentUnreadable, Outline, Rows, StructuredDocument
from services.retriever.text_reader import decode

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
MAX_ATTRIBUTES = 1000
"""Of one element: libxml2's time grows with the square of their number."""
_TAG = re.compile(r"""<[A-Za-z](?:[^>"']|"[^"]*"|'[^']*')*""")
_QUOTED = re.compile(r"""["'][^"']*["']""")
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
        raise DocumentHasNoText("The page holds no text.")
    outline = Outline()
    walk(_main(root), outline)
    sections = outline.finish()
    title = "" if any(section.heading_path for section in sections) else words(root.findtext(".//head/title") or "")
    return StructuredDocument(title=title, sections=sections)


def parse(text: str) -> etree._Element | None:
    """The tree of a page or a fragment; None when there is nothing in it."""
    for tag in _TAG.finditer(text):
        if tag.end() - tag.start() > MAX_ATTRIBUTES and len(_QUOTED.sub(" ", tag.group()).replace("/", " ").split()) > MAX_ATTRIBUTES:
            raise DocumentUnreadable(f"The page has an element with more than {MAX_ATTRIBUTES:,} attributes.")
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True, no_network=True)
    try:
        root = etree.fromstring(text.encode("utf-8"), parser)
    except etree.XMLSyntaxError as exc:
        if not text.strip() or "Document is empty" in str(exc):
            return None
        raise DocumentUnreadable(f"The page cannot be read as HTML: {exc}.") from exc
    if any("depth" in entry.message for entry in parser.error_log.filter_from_errors()):
        raise DocumentUnreadable("The page has elements nested deeper than 2,000. What lies deeper cannot be read.")
    return root


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
        self._tables: list[TableText | None] = []  # None: a table that only arranges
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
            self.text(f" {element.get('alt') or ''} ")
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
        elif tag in HEADINGS and self._level:
            self._end_heading(HEADINGS[tag])
        elif tag == "pre":
            self._end_pre()
        elif tag == "dt":
            self._end_term()
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
            self._outline.block("\n".join(filter(None, map(words, self._take().split("\n")))))

    def _start_block(self, element: etree._Element, tag: str) -> None:
        if tag in HEADINGS:
            self._level = HEADINGS[tag]
        elif tag == "pre":
            self._pre += 1
        elif tag in _LISTS:
            self._numbers.append(_number(element.get("start"), 1) if tag == "ol" else 0)
            self._outline.open_list()
        elif tag == "li":
            number = self._numbers[-1] if self._numbers else 0
            if number:
                number = _number(element.get("value"), number)
                self._numbers[-1] = number + 1
            self._outline.item(f"{number}. " if number else "- ")
        elif tag == "dt":
            self._end_term()  # libxml2 puts a `dt` into one whose end tag was left out
            self._in_term = True
        elif tag == "dd":
            self._outline.item(f"- {', '.join(self._terms)}: " if self._terms else "- ")
            self._terms = []
        elif tag == "table":
            self._tables.append(None if arranges(element) else TableText())

    def _see_anchor(self, element: etree._Element, tag: str) -> None:
        name = (element.get("id") or (element.get("name") if tag == "a" else None) or "").strip()
        if not name:
            return
        if self._level or (tag in HEADINGS and not self._tables):
            self._own_anchor = self._own_anchor or name
        elif tag == "a":
            self._anchors.insert(0, name)  # an element that encloses the heading names it better than a mark before it
        else:
            self._anchors.append(name)
        self._last_anchor = name

    def _end_heading(self, level: int) -> None:
        text = words(self._take())
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

    def _end_term(self) -> None:
        if self._in_term:
            self._in_term = False
            self._terms += filter(None, [words(self._take())])

    def _end_terms(self) -> None:
        if self._terms:
            self._outline.item("- " + ", ".join(self._terms))
            self._terms = []

    def _take(self) -> str:
        text = "".join(self._text)
        self._text.clear()
        return text


def _number(written: str | None, default: int) -> int:
    return int(written) if written and re.fullmatch("[1-9][0-9]{0,5}", written) else default
