"""Tables of HTML pages: one line a row, cells parted by ` | `."""

from __future__ import annotations

from lxml import etree

from services.retriever.structure import Rows, Table

HEADINGS = {f"h{level}": level for level in range(1, 7)}


class TableText:
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
        """A block begins in the table, after that text."""
        self._cell += (before, " ")
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
        """A block ends, or the table itself; `before` is the text since the last call."""
        self._cell += (before, " ")
        if tag == "table":
            self._depth -= 1
            if self._depth == 0:
                self._end_row()
                self._finish()
        elif self._depth == 1 and tag in ("td", "th"):
            self._end_cell(empty_too=True)
        elif self._depth == 1 and tag == "caption":
            self._caption = words("".join(self._cell))
            self._cell.clear()
        elif self._depth == 1 and tag == "thead" and len(self._rows) >= 1:
            self._header = True

    def _end_cell(self, empty_too: bool = False) -> None:
        text = words("".join(self._cell))
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


def arranges(table: etree._Element) -> bool:
    """Whether a table only arranges other blocks: it says so, or is one row without header cells, or holds headings."""
    if table.get("role") == "presentation":
        return True
    rows = 0
    for element in table.iter("tr", "th", "h1", "h2", "h3", "h4", "h5", "h6", "table"):
        if element.tag in HEADINGS or (element.tag == "table" and element is not table):
            return True
        if element.tag == "th":
            return False
        rows += element.tag == "tr"
        if rows > 1:
            return False
    return True


def words(text: str) -> str:
    """The text in one line, one blank between words."""
    return " ".join(text.split())
