"""The pages of a PDF as PDFium sees them: lines of text with their places, in the order in which they are read, and bookmarks.

PDFium (Chromium's engine, through pypdfium2) takes a few milliseconds a page and follows the order in which the text was set, which
keeps columns apart.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pypdfium2
import pypdfium2.raw as pdfium

from services.retriever.structure import DocumentEncrypted, DocumentTooLarge, DocumentUnreadable
from services.retriever.text_reader import clean

MAX_PAGES = 5_000
MAX_PAGE_CHARS = 500_000
MAX_BOOKMARKS = 20_000
MAX_RULED_CHARS = 10_000
MAX_RULED_PATHS = 2_000
"""Pages with more characters or drawn paths are not searched for tables: drawings and maps, on which the search would take minutes."""
_HYPHEN = "\x02"
"""What PDFium gives for a hyphen at the end of a line within a word."""
SOFT_HYPHEN = "\u00ad"
"""What stands for it here, at the end of a line."""


@dataclass(frozen=True)
class Line:
    """A line of text. Lengths in points, from the lower left corner of the page."""

    text: str
    left: float
    bottom: float
    right: float
    top: float
    fonts: tuple[float, float]
    """The smallest and the largest height of its fonts, as far as a few of its characters tell."""


@dataclass(frozen=True)
class PdfPage:
    """A page, its lines in reading order."""

    number: int
    """From 1."""
    lines: tuple[Line, ...]
    ruled: bool
    """Whether so many straight lines or boxes are drawn on it that it may hold a table."""


@dataclass(frozen=True)
class Bookmark:
    """An entry of the outline that the viewer shows beside the pages."""

    level: int
    """From 1, the outermost."""
    title: str
    page: int
    """From 1."""


class PdfFile:
    """An open PDF."""

    def __init__(self, content: bytes) -> None:
        """Raises `DocumentEncrypted`, `DocumentUnreadable` and `DocumentTooLarge`."""
        try:
            self._pdf = pypdfium2.PdfDocument(content)
            count = len(self._pdf)
        except pypdfium2.PdfiumError as exc:
            if getattr(exc, "err_code", None) == pdfium.FPDF_ERR_PASSWORD or "password" in str(exc).lower():
                raise DocumentEncrypted("The PDF is locked with a password. Save it without one.") from exc
            raise DocumentUnreadable("The PDF is damaged, or is no PDF.") from exc
        if count > MAX_PAGES:
            raise DocumentTooLarge(f"The PDF has {count:,} pages. At most {MAX_PAGES:,} are read. Split it.")
        self.page_count = count

    @property
    def title(self) -> str:
        """What the PDF says it is called, without what programs put there by themselves."""
        title = " ".join(clean(self._pdf.get_metadata_value("Title") or "").split()).removeprefix("Microsoft Word - ")
        made_up = title.lower().endswith((".doc", ".docx", ".ppt", ".pptx", ".indd", ".tex", ".pdf", ".xls", ".xlsx", ".odt"))
        return "" if made_up or title.lower() in ("untitled", "powerpoint presentation") else title

    def bookmarks(self) -> list[Bookmark]:
        """The outline, in order; entries that lead to no page are left out."""
        found = []
        for entry in islice(self._pdf.get_toc(max_depth=12), MAX_BOOKMARKS):
            title = " ".join(clean(entry.get_title()).split())
            destination = entry.get_dest()
            page = destination.get_index() if destination is not None else None
            if title and page is not None and 0 <= page < self.page_count:
                found.append(Bookmark(entry.level + 1, title, page + 1))
        return found

    def pages(self) -> Iterator[PdfPage]:
        """All pages, one after the other. A page that cannot be read is empty."""
        for index in range(self.page_count):
            try:
                page = self._pdf[index]
            except pypdfium2.PdfiumError:
                yield PdfPage(index + 1, (), ruled=False)
                continue
            try:
                text = page.get_textpage()
                lines = tuple(_lines(text.raw))
                text.close()
                chars = sum(len(line.text) for line in lines)
                ruled = 0 < chars <= MAX_RULED_CHARS and page.get_rotation() == 0 and _ruled(page)
                yield PdfPage(index + 1, lines, ruled)
            finally:
                page.close()

    def close(self) -> None:
        """Frees the file."""
        self._pdf.close()


def _lines(text: ctypes.c_void_p) -> Iterator[Line]:
    count = min(pdfium.FPDFText_CountChars(text), MAX_PAGE_CHARS)
    chars: list[str] = []
    seen: list[int] = []  # places of the visible characters
    for index in range(count + 1):
        code = pdfium.FPDFText_GetUnicode(text, index) if index < count else 10
        char = chr(code) if 0 < code < 0x110000 else ""
        if char not in ("\n", "\r", _HYPHEN):
            chars.append(char)
            if char.strip():
                seen.append(index)
            continue
        if seen:
            # The first character may be a bullet, in a font of its own; the one in the middle says where the line is.
            boxes = [_box(text, place) for place in (seen[0], seen[len(seen) // 2], seen[-1])]
            heights = [box[3] - box[1] for box in boxes]
            (left, *_), (_, bottom, _, top), (_, _, right, _) = boxes
            # PDFium gives characters outside the basic plane as two surrogates.
            whole = "".join(chars).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            cleaned = " ".join(clean(whole.replace(SOFT_HYPHEN, "")).split())
            if cleaned:
                yield Line(cleaned + (SOFT_HYPHEN if char == _HYPHEN else ""), left, bottom, right, top, (min(heights), max(heights)))
        chars.clear()
        seen.clear()


def _box(text: ctypes.c_void_p, index: int) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a character, by its font, so that `a` is as high as `h`."""
    box = pdfium.FS_RECTF()
    pdfium.FPDFText_GetLooseCharBox(text, index, box)
    return box.left, min(box.bottom, box.top), box.right, max(box.bottom, box.top)


def _ruled(page: pypdfium2.PdfPage) -> bool:
    horizontal = vertical = boxes = count = 0
    for drawn in page.get_objects(filter=(pdfium.FPDF_PAGEOBJ_PATH,), max_depth=4):
        count += 1
        if count > MAX_RULED_PATHS:
            return False
        try:
            left, bottom, right, top = drawn.get_bounds()
        except pypdfium2.PdfiumError:
            continue
        wide, high = right - left, top - bottom
        horizontal += wide > 20 and high < 4
        vertical += high > 6 and wide < 4
        boxes += wide > 20 and high > 6
    return (horizontal >= 3 and vertical >= 2) or boxes >= 3
