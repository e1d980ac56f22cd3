"""Writes blocks of plain text as `text_reader.paragraphs` reads them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MAX_CELL_CHARS = 2_000


def join(blocks: Iterable[str]) -> str:
    """Blocks with blank lines between them."""
    return "\n\n".join(block.rstrip() for block in blocks if block.strip())


def code(text: str) -> str:
    """Lines that stay as they are."""
    lines = [line.rstrip() for line in text.expandtabs(4).strip("\n").split("\n")]
    return "\n".join(f"    {line}" if line else "" for line in lines)


def item(marker: str, text: str) -> str:
    """An item of a list; its further lines stand under its first."""
    lines = [line for line in text.split("\n") if line.strip()]
    return "\n".join((marker if not number else "  ") + line for number, line in enumerate(lines))


def table(rows: Sequence[Sequence[str]]) -> str:
    """One line for each row. Cells of several lines become one."""
    lines = (" | ".join(" ".join(cell.split())[:MAX_CELL_CHARS] for cell in row) for row in rows)
    return "\n".join(f"  {line}" for line in lines if line.replace("|", "").strip())
