"""Atlassian Document Format (JSON) to plain text: paragraphs, headings, lists, code, tables, panels, mentions, links. Pure.

https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/. The text is as `text_reader.paragraphs` reads it: blank lines
part blocks, items begin with a marker, and lines that belong together (code, rows of a table) are indented. A node that is not known
gives the text of what is in it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services.retriever.connectors.json_values import at, objects, strings, text
from services.retriever.connectors.plain_blocks import code, item, join, table

MAX_DEPTH = 60
MAX_NODES = 100_000
_INLINE = frozenset(
    ("text", "hardBreak", "mention", "emoji", "date", "status", "inlineCard", "inlineExtension", "mediaInline", "placeholder")
)
_CARDS = frozenset(("blockCard", "embedCard", "inlineCard"))


def adf_text(document: Any) -> str:
    """The text of a document; empty for anything that is none. What lies too deep, or beyond too many nodes, is left out."""
    return _Writer().blocks(document, 0) if isinstance(document, dict) else ""


class _Writer:
    def __init__(self) -> None:
        self._left = MAX_NODES

    def blocks(self, node: dict[str, Any], depth: int) -> str:
        """The blocks within a node."""
        if depth > MAX_DEPTH:
            return ""
        found: list[str] = []
        line: list[str] = []
        for child in objects(node, "content"):
            self._left -= 1
            if self._left < 0:
                break
            if text(child, "type") in _INLINE:
                line.append(self._inline(child))
                continue
            found += ["".join(line), self._block(child, depth + 1)]
            line = []
        return join([*found, "".join(line)])

    def _block(self, node: dict[str, Any], depth: int) -> str:
        kind = text(node, "type")
        if kind == "paragraph":
            return self._line(node)
        if kind == "heading":
            level = at(node, "attrs", "level")
            return f"{'#' * (level if isinstance(level, int) and 1 <= level <= 6 else 3)} {self._line(node)}" if self._line(node) else ""
        if kind in ("bulletList", "orderedList", "taskList", "decisionList"):
            return self._list(node, kind, depth)
        if kind == "codeBlock":
            return code(self._line(node))
        if kind == "table":
            rows = [[self.blocks(cell, depth + 2) for cell in objects(row, "content")] for row in self._children(node)]
            return table(rows)
        if kind in _CARDS:
            return text(node, "attrs", "url")
        if kind in ("expand", "nestedExpand"):
            return join([text(node, "attrs", "title"), self.blocks(node, depth)])
        if kind == "media":
            return text(node, "attrs", "alt")
        return self.blocks(node, depth)

    def _list(self, node: dict[str, Any], kind: str, depth: int) -> str:
        first = at(node, "attrs", "order")
        number = first if isinstance(first, int) and 0 <= first < 1_000_000 else 1
        items = []
        for child in self._children(node):
            if text(child, "type") in ("taskList", "decisionList"):
                items.append(item("  ", self._block(child, depth + 1)))
                continue
            marker = f"{number}. " if kind == "orderedList" else "- "
            if kind == "taskList":
                marker += "[x] " if text(child, "attrs", "state") == "DONE" else "[ ] "
            items.append(item(marker, self.blocks(child, depth + 1)))
            number += 1
        return "\n".join(filter(None, items))

    def _children(self, node: dict[str, Any]) -> list[dict[str, Any]]:
        children = objects(node, "content")[: max(0, self._left)]
        self._left -= len(children)
        return children

    def _line(self, node: dict[str, Any]) -> str:
        return "".join(self._inline(child) for child in self._children(node))

    def _inline(self, node: dict[str, Any]) -> str:
        kind = text(node, "type")
        if kind == "text":
            return self._text(node)
        if kind == "hardBreak":
            return "\n"
        if kind in ("mention", "emoji", "status"):
            return text(node, "attrs", "text") or text(node, "attrs", "shortName")
        if kind == "date":
            return _date(at(node, "attrs", "timestamp"))
        if kind == "inlineCard":
            return text(node, "attrs", "url")
        return text(node, "attrs", "alt")

    @staticmethod
    def _text(node: dict[str, Any]) -> str:
        written = text(node, "text")
        for mark in objects(node, "marks"):
            href = text(mark, "attrs", "href")
            if text(mark, "type") == "link" and href and href not in (written, f"mailto:{written}"):
                written = f"{written} ({href})"
        if "code" in strings([text(mark, "type") for mark in objects(node, "marks")]):
            written = f"`{written}`"
        return written


def _date(timestamp: Any) -> str:
    try:
        return datetime.fromtimestamp(int(timestamp) / 1000, UTC).date().isoformat()
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
