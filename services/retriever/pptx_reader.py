"""PowerPoint presentations (PPTX) to sections: one for each slide, under its title.

A section's anchor is `slide=2`. The shapes of a slide are read from top to bottom and left to right, with their lists and tables;
then what the speaker's notes say.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pptx

from services.retriever.office_package import check_package
from services.retriever.office_tables import table_block
from services.retriever.structure import (
    MAX_HEADING_CHARS,
    DocumentHasNoText,
    DocumentTooLarge,
    DocumentUnreadable,
    Outline,
    Section,
    StructuredDocument,
    clip,
)
from services.retriever.text_reader import clean

MAX_SLIDES = 5_000
MAX_GROUP_DEPTH = 20
_LIST_PLACEHOLDERS = frozenset((2, 7))  # BODY and OBJECT: their paragraphs have bullets unless they say otherwise
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"


def read_pptx(content: bytes) -> StructuredDocument:
    """Raises DocumentEncrypted, DocumentTooLarge, DocumentHasNoText, and DocumentUnreadable for what is no presentation."""
    check_package(content, "presentation", "ppt/presentation.xml")
    try:
        slides = pptx.Presentation(io.BytesIO(content)).slides
        if len(slides) > MAX_SLIDES:
            raise DocumentTooLarge(f"The presentation has {len(slides):,} slides. At most {MAX_SLIDES:,} are read. Split it.")
        sections = [section for number, slide in enumerate(slides, 1) if (section := _section(number, slide)) is not None]
    except (KeyError, ValueError, AttributeError, SyntaxError, IndexError) as exc:  # lxml's errors are SyntaxErrors
        raise DocumentUnreadable("The presentation is damaged, or is none.") from exc
    if not sections:
        raise DocumentHasNoText("The presentation holds no text.")
    return StructuredDocument(title="", sections=tuple(sections))


def _section(number: int, slide: Any) -> Section | None:
    title_shape = slide.shapes.title
    title = _line(title_shape.text_frame.text) if title_shape is not None else ""
    outline = Outline()
    for shape in _in_order(slide.shapes):
        if title_shape is not None and shape.shape_id == title_shape.shape_id:
            continue
        if getattr(shape, "has_table", False):
            rows = [[_line(cell.text) for cell in row.cells] for row in shape.table.rows]
            outline.block(table_block(rows, header=bool(shape.table.first_row)))
        elif getattr(shape, "has_text_frame", False):
            _text(shape, outline)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = _lines(slide.notes_slide.notes_text_frame.text)
        if notes:
            outline.block(f"Notes: {notes}")
    try:
        blocks = outline.finish()[0].blocks
    except DocumentHasNoText:
        blocks = ()
    if not blocks and not title:
        return None
    return Section((clip(title, MAX_HEADING_CHARS),) if title else (), f"slide={number}", blocks)


def _in_order(shapes: Any, depth: int = 1) -> Iterator[Any]:
    """All shapes, also those in groups, in the order in which one reads."""
    if depth > MAX_GROUP_DEPTH:
        raise DocumentUnreadable(f"The presentation has shapes grouped deeper than {MAX_GROUP_DEPTH}.")
    placed = [(shape.top or 0, shape.left or 0, place, shape) for place, shape in enumerate(shapes)]
    for *_, shape in sorted(placed, key=lambda each: each[:3]):
        if hasattr(shape, "shapes"):
            yield from _in_order(shape.shapes, depth + 1)
        else:
            yield shape


def _text(shape: Any, outline: Outline) -> None:
    """Paragraphs and lists of a shape."""
    listing = shape.is_placeholder and int(shape.placeholder_format.type or 0) in _LIST_PLACEHOLDERS
    open_lists = 0
    number = 0
    for paragraph in shape.text_frame.paragraphs:
        text = _lines("".join(_pieces(paragraph._p)))
        if not text:
            continue
        marker = _marker(paragraph._p, listing)
        depth = paragraph.level + 1 if marker else 0
        while open_lists > depth:
            outline.close_list()
            open_lists -= 1
        while open_lists < depth:
            outline.open_list()
            open_lists += 1
        number = number + 1 if marker == "1" else 0
        if marker:
            outline.item(f"{number}. " if marker == "1" else "- ")
        outline.block(text)
    for _ in range(open_lists):
        outline.close_list()


def _marker(paragraph: Any, listing: bool) -> str:
    """`1` for a numbered item, `-` for another one, else empty."""
    properties = paragraph.find(f"{_A}pPr")
    if properties is not None:
        if properties.find(f"{_A}buNone") is not None:
            return ""
        if properties.find(f"{_A}buAutoNum") is not None:
            return "1"
        if properties.find(f"{_A}buChar") is not None or properties.find(f"{_A}buBlip") is not None:
            return "-"
    return "-" if listing else ""


def _pieces(paragraph: Any) -> Iterator[str]:
    for element in paragraph.iter(f"{_A}t", f"{_A}br"):
        yield "\n" if element.tag == f"{_A}br" else element.text or ""


def _line(text: str) -> str:
    return " ".join(clean(text.replace("\v", " ")).split())


def _lines(text: str) -> str:
    return "\n".join(filter(None, (" ".join(line.split()) for line in clean(text.replace("\v", "\n")).split("\n"))))
