"""PDF to sections: one for each page, and within a page one for each of its bookmarks.

A section's anchor is `page=3` (RFC 8118), so a citation opens the page. Headings are the bookmarks, put where their titles stand;
where a PDF has none, none are made up. Lines that repeat at the edge of many pages are dropped, lines that were broken are joined, words
that were divided are whole again, and a sentence that goes on over the page stays with the page on which it began.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median_low

from services.retriever.pdf_pages import SOFT_HYPHEN, Bookmark, Line, PdfFile, PdfPage
from services.retriever.pdf_tables import PdfTable, TableFinder
from services.retriever.structure import MAX_HEADING_CHARS, DocumentHasNoText, DocumentTooLarge, Items, Section, StructuredDocument, clip
from services.retriever.text_reader import paragraphs

MAX_CHARS = 30_000_000
_EDGE_LINES = 2
_REPEATED_PAGES = 3
_REPEATED_SHARE = 0.4
"""Of the pages: running heads of left and right pages take turns."""
_GAP = 1.3
_OTHER_FONT = 0.2
_FULL_LINE = 0.7
"""A line that fills less of the paragraph's width was ended by its author."""
_BULLET = re.compile(r"(?:[-*•·–‣▪◦●○■]|\(?[0-9]{1,3}[.)]|\(?[a-zA-Z][.)])\s+\S")
_SENTENCE_END = re.compile(r"[.!?]['\"”’)\]]*\s+")
_NUMBERED = re.compile(r"(?:chapter|section|appendix|part)?(?:[0-9]+|[a-z](?=\.))(?:\.[0-9]+)*[.:)]?")
_MOST_HEADING_LINES = 3
_MOST_CARRIED_CHARS = 600


def read_pdf(content: bytes) -> StructuredDocument:
    """Raises DocumentEncrypted, DocumentHasNoText for a scan, DocumentTooLarge, and DocumentUnreadable for what is no PDF."""
    pdf, finder = PdfFile(content), TableFinder(content)
    try:
        pages, chars = [], 0
        for page in pdf.pages():
            chars += sum(len(line.text) for line in page.lines)
            if chars > MAX_CHARS:
                raise DocumentTooLarge(f"The PDF has more than {MAX_CHARS:,} characters. Split it.")
            pages.append((page, finder.tables(page.number) if page.ruled else []))
        if not chars:
            what = "1 page" if pdf.page_count == 1 else f"{pdf.page_count:,} pages"
            raise DocumentHasNoText(f"The PDF has {what} and no text. It is most likely a scan: have its text recognised (OCR) first.")
        sections = _sections(pages, pdf.bookmarks())
        return StructuredDocument(title=pdf.title, sections=tuple(sections))
    finally:
        pdf.close()
        finder.close()


def _sections(pages: Sequence[tuple[PdfPage, list[PdfTable]]], bookmarks: Sequence[Bookmark]) -> list[Section]:
    by_page: dict[int, list[Bookmark]] = {}
    for bookmark in bookmarks:
        by_page.setdefault(bookmark.page, []).append(bookmark)
    running = _running_lines(pages)
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    for page, tables in pages:
        lines = [line for line in page.lines if _key(line) not in running or _table_at(line, tables)]
        headings = _placed(by_page.get(page.number, ()), lines)
        start = 0
        begun = False
        for place, length, titles in [*headings, (len(lines), 0, [])]:
            blocks = _lists_joined(_blocks(lines[start:place], tables))
            if not begun and blocks and sections:
                _carry_back(sections, blocks)
            if blocks or begun:
                sections.append(Section(tuple(title for _, title in path), f"page={page.number}", tuple(blocks)))
            for bookmark in titles:
                while path and path[-1][0] >= bookmark.level:
                    path.pop()
                path.append((bookmark.level, clip(bookmark.title, MAX_HEADING_CHARS)))
            start, begun = place + length, True
    return sections


def _running_lines(pages: Sequence[tuple[PdfPage, list[PdfTable]]]) -> set[tuple[str, int]]:
    """Heads and feet: what stands at the same height at the edge of many pages, whatever number is in it."""
    seen: Counter[tuple[str, int]] = Counter()
    for page, tables in pages:
        outside = sorted((line for line in page.lines if not _table_at(line, tables)), key=lambda line: -line.bottom)
        seen.update({_key(line) for line in (*outside[:_EDGE_LINES], *outside[-_EDGE_LINES:])})
    least = max(_REPEATED_PAGES, _REPEATED_SHARE * len(pages))
    return {key for key, count in seen.items() if count >= least}


def _key(line: Line) -> tuple[str, int]:
    return re.sub(r"[0-9]+|\b[ivxlc]+\b", "#", line.text.casefold()), round(line.bottom / 4)


def _placed(bookmarks: Sequence[Bookmark], lines: Sequence[Line]) -> list[tuple[int, int, list[Bookmark]]]:
    """Where on the page headings stand: (line, how many lines, bookmarks). One whose title is not found goes with the one before it."""
    placed: list[tuple[int, int, list[Bookmark]]] = []
    after = 0
    for bookmark in bookmarks:
        wanted = _squeezed(bookmark.title)
        found = next(
            (
                (at, length)
                for at in range(after, len(lines))
                for length in range(1, _MOST_HEADING_LINES + 1)
                if _is(lines, at, length, wanted)
            ),
            None,
        )
        if found is not None:
            placed.append((*found, [bookmark]))
            after = sum(found)
        elif placed:
            placed[-1][2].append(bookmark)
        else:
            placed.append((0, 0, [bookmark]))
    return placed


def _is(lines: Sequence[Line], at: int, length: int, wanted: str) -> bool:
    """Whether a heading stands on these lines, with or without its number."""
    if at + length > len(lines):
        return False
    there = _squeezed("".join(line.text for line in lines[at : at + length]))
    return there == wanted or _without_number(there) == _without_number(wanted) != ""


def _without_number(squeezed: str) -> str:
    found = _NUMBERED.match(squeezed)
    return squeezed[found.end() :] if found else squeezed


def _squeezed(text: str) -> str:
    return "".join(text.replace(SOFT_HYPHEN, "").casefold().split())


def _table_at(line: Line, tables: Sequence[PdfTable]) -> PdfTable | None:
    across, up = (line.left + line.right) / 2, (line.bottom + line.top) / 2
    return next((table for table in tables if table.left <= across <= table.right and table.bottom <= up <= table.top), None)


def _blocks(lines: Sequence[Line], tables: Sequence[PdfTable]) -> Iterator[str]:
    """Paragraphs, lists and tables; a table stands where the first of its lines stood."""
    drops = [before.bottom - line.bottom for before, line in itertools.pairwise(lines)]
    usual = median_low([drop for drop in drops if drop > 1] or [12.0])
    shown: set[int] = set()
    paragraph: list[Line] = []
    for line in lines:
        table = _table_at(line, tables)
        if paragraph and (table is not None or _begins(paragraph[-1], line, usual)):
            yield from paragraphs(_joined(paragraph))
            paragraph = []
        if table is None:
            paragraph.append(line)
        elif id(table) not in shown:
            shown.add(id(table))
            yield table.block
    if paragraph:
        yield from paragraphs(_joined(paragraph))


def _lists_joined(blocks: Iterator[str]) -> list[str]:
    """The blocks; items that stand apart on the page are one list."""
    joined: list[str] = []
    for block in blocks:
        if joined and isinstance(block, Items) and isinstance(joined[-1], Items):
            joined[-1] = Items(f"{joined[-1]}\n{block}")
        else:
            joined.append(block)
    return joined


def _begins(before: Line, line: Line, usual_drop: float) -> bool:
    """Whether a new paragraph begins with that line."""
    smaller, larger = sorted((before.fonts, line.fonts))
    if larger[0] - smaller[1] > _OTHER_FONT * larger[0]:
        return True
    height = line.top - line.bottom
    drop = before.bottom - line.bottom
    if drop < -height:  # up again: another column
        return not _goes_on(before.text, line.text)
    return drop > _GAP * max(usual_drop, height)


def _joined(lines: Sequence[Line]) -> str:
    """The paragraph; a line break where its author ended a line."""
    width = max(line.right - line.left for line in lines)
    text = lines[0].text
    item = lines[0] if _BULLET.match(text) else None  # the one that is open
    for before, line in itertools.pairwise(lines):
        if before.text.endswith(SOFT_HYPHEN):
            text = _undivided(text, line.text)
        elif _BULLET.match(line.text):
            text += ("\n" if item else "\n\n") + line.text
            item = line
        elif item and line.left <= item.left + 1:
            text += "\n\n" + line.text
            item = None
        elif before.right - before.left < _FULL_LINE * width and not _goes_on(before.text, line.text):
            text += "\n" + line.text
        else:
            text += " " + line.text
    return text.replace(SOFT_HYPHEN, "-")


def _undivided(before: str, after: str) -> str:
    """A word that was divided at the end of a line; the hyphen stays before a capital or a digit, where it is part of the word."""
    return before.removesuffix(SOFT_HYPHEN) + ("" if after[:1].islower() else "-") + after


def _goes_on(before: str, after: str) -> bool:
    """Whether a sentence continues, as far as one can see: it had not ended, and what follows begins with a small letter."""
    return not before.rstrip("'\"”’)]").endswith((".", "!", "?", ":", ";")) and after[:1].islower()


def _carry_back(sections: list[Section], blocks: list[str]) -> None:
    """Moves the rest of a sentence that began on the page before to where it began."""
    last = sections[-1]
    if not last.blocks or type(last.blocks[-1]) is not str or type(blocks[0]) is not str:
        return
    before, after = last.blocks[-1], blocks[0]
    if not _goes_on(before, after):
        return
    end = _SENTENCE_END.search(after, 0, _MOST_CARRIED_CHARS)
    if end is None and len(after) > _MOST_CARRIED_CHARS:
        return  # no sentence, as in code or in a list
    rest, left = (after[: end.end()].rstrip(), after[end.end() :]) if end else (after, "")
    joined = before[:-1] + rest if re.search(r"[a-z]-$", before) else f"{before} {rest}"
    sections[-1] = Section(last.heading_path, last.anchor, (*last.blocks[:-1], joined))
    blocks[:1] = [left] if left.strip() else []
