"""Tables of Word and PowerPoint: one line a row, as those of other types."""

from __future__ import annotations

from collections.abc import Sequence

from services.retriever.structure import Rows, Table


def table_block(rows: Sequence[Sequence[str]], header: bool) -> str:
    """The block of a table, its cells each in one line; a table of one row or one column is a frame around text, and becomes that."""
    cells = [list(row) for row in rows if any(row)]
    if not cells:
        return ""
    if len(cells) == 1 or max(map(len, cells)) == 1:
        return "\n".join(" ".join(filter(None, row)) for row in cells)
    text = "\n".join(" | ".join(row).strip() for row in cells)
    return Table(text) if header else Rows(text)
