"""Which reader reads which type of document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from services.retriever.csv_reader import read_csv
from services.retriever.html_reader import read_html
from services.retriever.markdown_reader import read_markdown
from services.retriever.structure import (
    MAX_HEADING_CHARS,
    DocumentTooLarge,
    DocumentTypeUnsupported,
    StructuredDocument,
    clip,
)
from services.retriever.text_reader import clean, read_text
from services.retriever.ticket_reader import read_ticket

MARKDOWN = "text/markdown"
HTML = "text/html"
TEXT = "text/plain"
TICKET = "application/vnd.corella.ticket+json"
PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
CSV = "text/csv"


_LOADED_LATE = ("pdf", "docx", "pptx")
"""Their libraries take a second to load, and only the process that reads needs them."""


def _late(kind: str) -> Callable[[bytes], StructuredDocument]:
    def read(content: bytes) -> StructuredDocument:
        module = import_module(f"services.retriever.{kind}_reader")
        document: StructuredDocument = getattr(module, f"read_{kind}")(content)
        return document

    return read


class Reader(NamedTuple):
    """How one type is read."""

    read: Callable[[bytes], StructuredDocument]
    endings: tuple[str, ...]
    max_bytes: int
    """The worst text known of this size (an element for every four bytes) is read in about 15 s and 700 MB. Whatever the content is, the
    process that reads it is stopped at the limits of `ParsingSettings`."""


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        MARKDOWN: Reader(read_markdown, (".md", ".markdown"), 8 << 20),
        HTML: Reader(read_html, (".html", ".htm"), 8 << 20),
        TEXT: Reader(read_text, (".txt",), 16 << 20),
        TICKET: Reader(read_ticket, (".json",), 8 << 20),
        PDF: Reader(_late("pdf"), (".pdf",), 50 << 20),
        DOCX: Reader(_late("docx"), (".docx",), 50 << 20),
        PPTX: Reader(_late("pptx"), (".pptx",), 50 << 20),
        CSV: Reader(read_csv, (".csv",), 16 << 20),
    }
)
MAX_SECTIONS = 50_000
MAX_LINES = 200_000
"""Of all sections together. Cutting so many takes about 5 s and 400 MB when each line is a paragraph or an item."""
_ALIASES = {"text/x-markdown": MARKDOWN, "application/xhtml+xml": HTML, "application/csv": CSV, "application/x-pdf": PDF}
_BY_ENDING = {ending: mime_type for mime_type, reader in READERS.items() for ending in reader.endings}


def prepare_readers() -> None:
    """Loads what reading needs, so that the first document is not slower than the others, and none has to open files for it."""
    for kind in _LOADED_LATE:
        import_module(f"services.retriever.{kind}_reader")


def mime_type_for(uri_or_path: str) -> str | None:
    """The type that the ending of a path or of a URI's path stands for; None when it stands for none that is read."""
    return _BY_ENDING.get(PurePosixPath(_path(uri_or_path)).suffix.lower())


def read_document(content: bytes, mime_type: str, uri: str, title: str = "") -> StructuredDocument:
    """Reads a document of that type; an empty type is found by the ending of the URI.

    The title is the given one, else the document's own, else its first heading, else the last part of the URI.
    Raises DocumentTypeUnsupported, DocumentTooLarge, and DocumentUnreadable for content that is not what its type says.
    """
    essence = mime_type.partition(";")[0].strip().lower()
    reader = READERS.get(_ALIASES.get(essence, essence) or mime_type_for(uri) or "")
    if reader is None:
        known = ", ".join(f"{name} ({' '.join(each.endings)})" for name, each in READERS.items())
        what = f"of type {essence!r}" if essence else f"at {uri!r}"
        raise DocumentTypeUnsupported(f"There is no reader for a document {what}. Known types: {known}.", mime_type=essence)
    if len(content) > reader.max_bytes:
        limit, size = reader.max_bytes >> 20, len(content) / (1 << 20)
        raise DocumentTooLarge(f"The document has {size:.1f} MiB. At most {limit} MiB of this type are read.")
    document = reader.read(content)
    lines = sum(block.count("\n") + 1 for section in document.sections for block in section.blocks)
    for count, limit, what in ((len(document.sections), MAX_SECTIONS, "sections"), (lines, MAX_LINES, "lines and paragraphs")):
        if count > limit:
            raise DocumentTooLarge(f"The document has {count:,} {what}. At most {limit:,} are read. Split it.")
    first_heading = next((section.heading_path[0] for section in document.sections if section.heading_path), "")
    last_part = unquote(PurePosixPath(_path(uri)).name)
    chosen = next((text for text in (clean(title), document.title, first_heading, last_part) if text.strip()), uri)
    return replace(document, title=clip(chosen, MAX_HEADING_CHARS))


def _path(uri_or_path: str) -> str:
    try:
        return urlsplit(uri_or_path).path
    except ValueError:
        return uri_or_path
