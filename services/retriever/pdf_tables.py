"""Tables of a PDF that are drawn with lines or boxes, found by pdfplumber.

It is more than fifty times slower than PDFium, so it looks only at pages on which such lines are drawn, and only so many of them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import pdfplumber

from services.retriever.structure import Rows, Table
from services.retriever.text_reader import clean

MAX_TABLE_PAGES = 200
"""Of one document. On later pages a table is read as lines of text."""


@dataclass(frozen=True)
class PdfTable:
    """A table and its place on the page, in points from the lower left corner."""

    left: float
    bottom: float
    right: float
    top: float
    block: Table | Rows


class TableFinder:
    """Looks for the tables of one PDF; opens it when it is first asked."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._pdf: pdfplumber.PDF | None = None
        self._left = MAX_TABLE_PAGES

    def tables(self, number: int) -> list[PdfTable]:
        """The tables of a page, counted from 1; none when pdfplumber cannot read it."""
        if self._left <= 0:
            return []
        self._left -= 1
        try:
            if self._pdf is None:
                self._pdf = pdfplumber.open(io.BytesIO(self._content))
            page = self._pdf.pages[number - 1]
            found = []
            for table in page.find_tables():
                block = _block(table.extract())
                if block is not None:
                    # pdfplumber counts from the top of the page.
                    left, top, right, bottom = table.bbox
                    found.append(PdfTable(left, float(page.height) - bottom, right, float(page.height) - top, block))
            page.close()
            return found
        except MemoryError:
            raise
        except Exception:
            # PDFium has read the page; what the other parser makes of a damaged one must not take that away.
            return []

    def close(self) -> None:
        """Frees the file."""
        if self._pdf is not None:
            self._pdf.close()


def _block(rows: list[list[str | None]]) -> Table | Rows | None:
    """One line a row, as in tables of other types; None for a frame around text."""
    cells = [[" ".join(clean(cell or "").split()) for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    if len(cells) < 2 or max(sum(map(bool, row)) for row in cells) < 2:
        return None
    text = "\n".join(" | ".join(row).strip() for row in cells)
    return Table(text) if sum(map(bool, cells[0])) > 1 else Rows(text)
