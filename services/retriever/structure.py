"""What every reader makes of a document, and what the chunker makes of that.

    bytes --readers.py--> StructuredDocument(Section(block, block, …), …) --chunking.py--> Piece, Piece, …

A block is a `str`; its class says where it may be cut:

    str        prose: between sentences; a line break in it is a line break of the original
    ├── Items  a list: between items, which begin at the margin and continue on indented lines
    ├── Table  between rows; the first line is the header and is repeated above the rows that follow in another piece
    └── Rows   lines that belong together: program code, a table without a header
"""

from __future__ import annotations

from dataclasses import dataclass

from services.chassis.errors import InvalidArgument

MAX_HEADING_CHARS = 200
MAX_LIST_DEPTH = 12
"""Items of deeper lists are indented as if they were this deep."""


class DocumentUnreadable(InvalidArgument):
    """The content is not what its type says."""

    reason = "DOCUMENT_UNREADABLE"


class DocumentHasNoText(DocumentUnreadable):
    """The content is what its type says, but there is no text in it: an empty file, a scan, pictures only."""

    reason = "DOCUMENT_HAS_NO_TEXT"


class DocumentEncrypted(DocumentUnreadable):
    """The content is locked with a password."""

    reason = "DOCUMENT_ENCRYPTED"


class DocumentTooCostly(InvalidArgument):
    """Reading was stopped: it took more time or memory than a document may take, or broke the process that read it.

    The reason says which: `DOCUMENT_TAKES_TOO_LONG`, `DOCUMENT_TAKES_TOO_MUCH_MEMORY`, `DOCUMENT_BREAKS_ITS_READER`.
    """

    reason = "DOCUMENT_TAKES_TOO_LONG"


class DocumentTooLarge(InvalidArgument):
    """More than is read of one document, in bytes, sections or pieces. The message says which limit."""

    reason = "DOCUMENT_TOO_LARGE"


class DocumentTypeUnsupported(InvalidArgument):
    """There is no reader for this type. The message lists those that there are."""

    reason = "DOCUMENT_TYPE_UNSUPPORTED"


class Items(str):
    """The items of a list, one or more lines each."""

    __slots__ = ()


class Table(str):
    """The rows of a table, one line each, its header first."""

    __slots__ = ()


class Rows(str):
    """Lines that mean something together: code, or a table without a header."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """The text between one heading and the next."""

    heading_path: tuple[str, ...]
    """The headings above the text, outermost first, the section's own last."""
    anchor: str
    """What follows `#` in a link to the section, without `#`; or a query that opens it, with its `?`. Empty: the top of the document."""
    blocks: tuple[str, ...]
    """Paragraphs, lists, tables and code in the order of the document. May be empty."""
    kind: str = "section"
    """`section`; in tickets `description`, `comment` or `solution`."""


@dataclass(frozen=True)
class StructuredDocument:
    """A document as its author built it."""

    title: str
    sections: tuple[Section, ...]
    uri: str = ""
    """Where the document itself says it lives (http or https), for documents that do. Else empty."""


@dataclass(frozen=True)
class Piece:
    """A part of one section that is found and embedded as one."""

    index: int
    """Position in the document, from 0."""
    heading_path: tuple[str, ...]
    anchor: str
    text: str
    """Without the headings; never empty."""
    kind: str


class Outline:
    """Collects headings and blocks in the order of a document and returns its sections.

    What is added while a list is open becomes lines of that list, at any depth; the outermost list becomes one block.
    """

    def __init__(self) -> None:
        self._sections: list[Section] = []
        self._open: list[tuple[int, str]] = []
        self._anchor = ""
        self._blocks: list[str] = []
        self._list_depth = 0
        self._lines: list[str] = []
        self._marker = ""

    def heading(self, level: int, text: str, anchor: str) -> None:
        """Begins a section of that level (1 is the outermost) under the open ones of lower level."""
        if self._list_depth:
            self.block(text)
            return
        self._close()
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        self._open.append((level, clip(text, MAX_HEADING_CHARS)))
        self._anchor = anchor
        if len(text) > MAX_HEADING_CHARS:
            self.block(text)

    def block(self, text: str) -> None:
        """Adds a block to the section begun last, or lines to the open list."""
        if not text.strip():
            return
        if self._list_depth == 0:
            self._blocks.append(self._marker + text if self._marker else text)
            self._marker = ""
            return
        for line in text.split("\n"):
            self._lines.append(self._indent() + (self._marker or "  ") + line)
            self._marker = ""

    def open_list(self) -> None:
        """Begins a list, within the open one if there is one."""
        self._flush_marker()
        self._list_depth += 1

    def item(self, marker: str) -> None:
        """Begins an item; the marker ("- ", "3. ", "- term: ") stands before its first line."""
        self._flush_marker()
        self._marker = marker

    def close_list(self) -> None:
        """Ends the innermost open list."""
        self._flush_marker()
        self._list_depth = max(0, self._list_depth - 1)
        if not self._list_depth and self._lines:
            self._blocks.append(Items("\n".join(self._lines)))
            self._lines = []

    def finish(self) -> tuple[Section, ...]:
        """The sections. Raises DocumentHasNoText when there are none."""
        while self._list_depth:
            self.close_list()
        self._flush_marker()
        self._close()
        if not self._sections:
            raise DocumentHasNoText("The document holds no text.")
        return tuple(self._sections)

    def _indent(self) -> str:
        return "  " * (min(self._list_depth, MAX_LIST_DEPTH) - 1)

    def _flush_marker(self) -> None:
        """A marker that no text followed stays as a line when it says something itself, such as a defined term."""
        marker, self._marker = self._marker.rstrip(" :"), ""
        if not marker.strip("-.0123456789"):
            return
        if self._list_depth:
            self._lines.append(self._indent() + marker)
        else:
            self._blocks.append(marker)

    def _close(self) -> None:
        if self._open or self._blocks:
            self._sections.append(Section(tuple(text for _, text in self._open), self._anchor, tuple(self._blocks)))
        self._blocks = []


def clip(text: str, max_chars: int) -> str:
    """The text in one line, cut at a word with an ellipsis when it is longer than `max_chars`."""
    line = " ".join(text.split())
    if len(line) <= max_chars:
        return line
    cut = line[: max_chars - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[max_chars // 2 :] else cut) + "…"
