"""Word documents (DOCX) to sections, along the headings that their styles make.

A section has no anchor: nothing in a URI opens a place within a Word document. What was deleted under track changes is left out, what was
inserted is read; so are text boxes and content controls. Page headers and footers, comments and footnotes are left out.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import docx
from docx.opc.constants import RELATIONSHIP_TYPE

from services.retriever.office_package import check_package
from services.retriever.office_tables import table_block
from services.retriever.structure import DocumentUnreadable, Outline, StructuredDocument
from services.retriever.text_reader import clean

MAX_TABLE_DEPTH = 20
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_LEFT_OUT = frozenset(
    (f"{_W}del", f"{_W}moveFrom", f"{_W}instrText", f"{_W}pPr", f"{_W}rPr", f"{_W}sectPr", f"{_W}tblPr", f"{_W}trPr", f"{_W}tcPr",
     f"{_W}sdtPr", f"{_W}delText", f"{_MC}Fallback", f"{_W}rt")
)  # fmt: skip
_HEADING = re.compile(r"heading ([1-9])")
_BULLETS = frozenset(("bullet", "none"))


def read_docx(content: bytes) -> StructuredDocument:
    """Raises DocumentEncrypted, DocumentTooLarge, DocumentHasNoText, and DocumentUnreadable for what is no Word document."""
    check_package(content, "Word document", "word/document.xml")
    try:
        document = docx.Document(io.BytesIO(content))
        body = document.element.body
        styles, lists = _Styles(document.styles.element), _Lists(_numbering(document))
        named = document.core_properties.title
    except (KeyError, ValueError, AttributeError, SyntaxError) as exc:  # lxml's errors are SyntaxErrors
        raise DocumentUnreadable("The Word document is damaged, or is none.") from exc
    reader = _Reader(styles, lists)
    reader.read(body)
    return StructuredDocument(title=" ".join(clean(reader.title or named or "").split()), sections=reader.outline.finish())


def _numbering(document: Any) -> Any:
    """The part that says how lists are numbered; None when there is none. (`numbering_part` would make one.)"""
    try:
        return document.part.part_related_by(RELATIONSHIP_TYPE.NUMBERING).element
    except KeyError:
        return None


class _Styles:
    """What the paragraph styles mean: the level of a heading, the title, a list."""

    def __init__(self, element: Any) -> None:
        self._styles = {style.get(f"{_W}styleId"): style for style in element.iterchildren(f"{_W}style")}

    def heading(self, style_id: str | None) -> int:
        """The level of the heading that a style makes, 1 the outermost; 0 for none. 10 for the document's title."""
        for style in self._line(style_id):
            name = _value(style.find(f"{_W}name")).lower()
            found = _HEADING.fullmatch(name)
            if found or name == "title":
                return int(found.group(1)) if found else 10
            outline = style.find(f"{_W}pPr/{_W}outlineLvl")
            if outline is not None:
                return _level(outline)
        return 0

    def numbering(self, style_id: str | None) -> Any:
        """The `numPr` of a list style; None for another style."""
        return next((found for style in self._line(style_id) if (found := style.find(f"{_W}pPr/{_W}numPr")) is not None), None)

    def _line(self, style_id: str | None) -> Iterator[Any]:
        """The style and those it is based on."""
        seen: set[str] = set()
        while style_id and style_id not in seen and style_id in self._styles:
            seen.add(style_id)
            yield self._styles[style_id]
            style_id = _value(self._styles[style_id].find(f"{_W}basedOn")) or None


class _Lists:
    """The markers of list items."""

    def __init__(self, element: Any) -> None:
        self._formats: dict[tuple[str, int], str] = {}
        self._counts: dict[tuple[str, int], int] = {}
        if element is None:
            return
        abstract = {
            each.get(f"{_W}abstractNumId"): {
                _number(level.get(f"{_W}ilvl")): _value(level.find(f"{_W}numFmt")) for level in each.iterchildren(f"{_W}lvl")
            }
            for each in element.iterchildren(f"{_W}abstractNum")
        }
        for number in element.iterchildren(f"{_W}num"):
            levels = abstract.get(_value(number.find(f"{_W}abstractNumId")), {})
            for level, how in levels.items():
                self._formats[number.get(f"{_W}numId") or "", level] = how

    def marker(self, numbering: Any) -> tuple[int, str] | None:
        """Depth from 0 and marker of the next item of that list; None when the paragraph is no item."""
        list_id, depth = _value(numbering.find(f"{_W}numId")), _number(_value(numbering.find(f"{_W}ilvl")))
        if list_id in ("", "0"):
            return None
        if self._formats.get((list_id, depth), "bullet") in _BULLETS:
            return depth, "- "
        for other, deeper in list(self._counts):
            if other == list_id and deeper > depth:
                del self._counts[other, deeper]
        self._counts[list_id, depth] = self._counts.get((list_id, depth), 0) + 1
        return depth, f"{self._counts[list_id, depth]}. "


class _Reader:
    """Goes through the body, paragraph by paragraph and table by table."""

    def __init__(self, styles: _Styles, lists: _Lists) -> None:
        self.title = ""
        self.outline = Outline()
        self._styles = styles
        self._lists = lists
        self._depth = 0  # of the open list

    def read(self, body: Any) -> None:
        """Reads everything below an element."""
        for element in _blocks(body):
            if element.tag == f"{_W}p":
                self._paragraph(element)
            else:
                self._close_lists(0)
                self.outline.block(_table(element))
        self._close_lists(0)

    def _paragraph(self, paragraph: Any) -> None:
        text = _text(paragraph)
        properties = paragraph.find(f"{_W}pPr")
        style = _value(properties.find(f"{_W}pStyle")) if properties is not None else None
        own = properties.find(f"{_W}outlineLvl") if properties is not None else None
        level = _level(own) if own is not None else self._styles.heading(style)
        line = " ".join(text.split())
        if level and line:
            self._close_lists(0)
            if level == 10:
                self.title = self.title or line
            self.outline.heading(1 if level == 10 else level, line, "")
        elif line:
            numbering = properties.find(f"{_W}numPr") if properties is not None else None
            numbering = self._styles.numbering(style) if numbering is None else numbering
            marked = self._lists.marker(numbering) if numbering is not None else None
            if marked is None:
                self._close_lists(0)
            else:
                self._open_lists(marked[0] + 1)
                self.outline.item(marked[1])
            self.outline.block("\n".join(filter(None, (" ".join(part.split()) for part in text.split("\n")))))
        for box in _boxes(paragraph):
            self.read(box)

    def _open_lists(self, depth: int) -> None:
        self._close_lists(depth)
        while self._depth < depth:
            self.outline.open_list()
            self._depth += 1

    def _close_lists(self, depth: int) -> None:
        while self._depth > depth:
            self.outline.close_list()
            self._depth -= 1


def _walk(root: Any, within: Callable[[Any], bool]) -> Iterator[Any]:
    """The elements below one, in order and without recursion; not those below an element for which `within` is false."""
    stack = [iter(root)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif isinstance(element.tag, str) and element.tag not in _LEFT_OUT:
            yield element
            if within(element):
                stack.append(iter(element))


def _blocks(root: Any) -> Iterator[Any]:
    """Paragraphs and tables, also those within content controls."""
    ends = (f"{_W}p", f"{_W}tbl")
    return (element for element in _walk(root, lambda element: element.tag not in ends) if element.tag in ends)


def _boxes(paragraph: Any) -> list[Any]:
    """Text boxes that hang on a paragraph."""
    box = f"{_W}txbxContent"
    return [element for element in _walk(paragraph, lambda element: element.tag != box) if element.tag == box]


def _text(paragraph: Any) -> str:
    parts = []
    for element in _walk(paragraph, lambda element: element.tag != f"{_W}txbxContent"):
        tag = element.tag
        if tag in (f"{_W}t", f"{_M}t"):
            parts.append(element.text or "")
        elif tag in (f"{_W}tab", f"{_W}ptab"):
            parts.append(" ")
        elif tag in (f"{_W}br", f"{_W}cr"):
            parts.append("\n")
        elif tag == f"{_W}noBreakHyphen":
            parts.append("-")
    return clean("".join(parts))


def _table(table: Any, depth: int = 1) -> str:
    rows: list[list[str]] = []
    header = False
    for row in _walk(table, lambda element: element.tag not in (f"{_W}tr", f"{_W}tc")):
        if row.tag != f"{_W}tr":
            continue
        properties = row.find(f"{_W}trPr")
        header = header or (not rows and properties is not None and properties.find(f"{_W}tblHeader") is not None)
        cells = (element for element in _walk(row, lambda element: element.tag != f"{_W}tc") if element.tag == f"{_W}tc")
        rows.append([_cell(cell, depth) for cell in cells])
    look = table.find(f"{_W}tblPr/{_W}tblLook")
    first_row = look is not None and (look.get(f"{_W}firstRow") in ("1", "true", "on") or _hexadecimal(look.get(f"{_W}val")) & 0x20 > 0)
    return table_block(rows, header=header or first_row)


def _cell(cell: Any, depth: int) -> str:
    parts = []
    for element in _blocks(cell):
        if element.tag == f"{_W}p":
            parts.append(_text(element))
        elif depth < MAX_TABLE_DEPTH:
            parts.append(_table(element, depth + 1))
        else:
            raise DocumentUnreadable(f"The Word document has tables nested deeper than {MAX_TABLE_DEPTH}.")
    return " ".join(" ".join(parts).split())


def _value(element: Any) -> str:
    return "" if element is None else element.get(f"{_W}val") or ""


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 4 else 0


def _hexadecimal(text: str | None) -> int:
    try:
        return int(text or "0", 16)
    except ValueError:
        return 0


def _level(outline: Any) -> int:
    """The level of an `outlineLvl`, which counts from 0; 9 is body text."""
    level = _number(_value(outline))
    return level + 1 if level < 9 else 0
