"""CSV to sections of a few rows, each under the names of the columns.

A section's anchor is `row=10-29` (RFC 7111), rows counted from 1 with the header among them. A section holds about as much as a chunk, so
that a citation leads to the rows it rests on.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from services.retriever.structure import DocumentHasNoText, DocumentTooLarge, DocumentUnreadable, Rows, Section, StructuredDocument, Table
from services.retriever.text_reader import decode

MAX_FIELD_CHARS = 1 << 20
MAX_ROWS = 100_000
MAX_COLUMNS = 1_000
SECTION_CHARS = 500
"""Header and rows of one section, about: some 150 tokens, so that most sections are one chunk."""
_DELIMITERS = ",;\t|"
_SAMPLE_CHARS = 16_384
_NUMBER = re.compile(r"[-+]?[£$€]?\d[\d.,\s]*%?")


def read_csv(content: bytes) -> StructuredDocument:
    """Raises DocumentUnreadable for bytes that are not valid text, DocumentTooLarge, and DocumentHasNoText for no cell with text."""
    csv.field_size_limit(MAX_FIELD_CHARS)  # of the module; always the same here
    text = decode(content)
    rows: list[tuple[int, list[str]]] = []
    try:
        for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)), 1):
            if number > MAX_ROWS:
                raise DocumentTooLarge(f"The CSV has more than {MAX_ROWS:,} rows. Split it.")
            if len(row) > MAX_COLUMNS:
                raise DocumentTooLarge(f"The CSV has a row of {len(row):,} columns. At most {MAX_COLUMNS:,} are read.")
            cells = [" ".join(cell.split()) for cell in row]
            if any(cells):
                rows.append((number, cells))
    except csv.Error as exc:
        if "field larger" in str(exc):
            raise DocumentTooLarge(f"The CSV has a field of more than {MAX_FIELD_CHARS:,} characters.") from exc
        raise DocumentUnreadable(f"The file cannot be read as CSV: {exc}.") from exc
    if not rows:
        raise DocumentHasNoText("The CSV holds no text.")
    names = rows[0][1] if len(rows) > 1 and _is_header(rows[0][1], rows[1][1]) else None
    return StructuredDocument(title="", sections=tuple(_sections(rows[1:] if names else rows, names)))


def _delimiter(text: str) -> str:
    """The one of the usual delimiters that divides the first lines most evenly."""
    best, most = ",", 0
    lines = [line for line in text[:_SAMPLE_CHARS].split("\n")[:20] if line.strip()]
    for delimiter in _DELIMITERS:
        counts = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        alike = min(counts, default=1) - 1
        if alike > most:
            best, most = delimiter, alike
    return best


def _is_header(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether the first row names the columns: names all of them, each differently, and none is a number."""
    named = [cell for cell in first if cell]
    return len(first) >= len(second) and len(named) == len(first) == len(set(named)) and not any(_NUMBER.fullmatch(cell) for cell in named)


def _sections(rows: Sequence[tuple[int, list[str]]], names: Sequence[str] | None) -> list[Section]:
    header = " | ".join(names) if names else ""
    sections: list[Section] = []
    lines: list[str] = []
    first, last, chars = 0, 0, len(header)
    for number, cells in [*rows, (0, [])]:
        line = " | ".join(cells).strip()
        if lines and (not number or chars + len(line) > SECTION_CHARS):
            block = Table("\n".join([header, *lines])) if names else Rows("\n".join(lines))
            sections.append(Section((), f"row={first}" if first == last else f"row={first}-{last}", (block,)))
            lines, chars = [], len(header)
        first = first if lines else number
        lines.append(line)
        last, chars = number, chars + len(line)
    return sections
