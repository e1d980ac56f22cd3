"""What passes between a worker and the process that reads for it: documents and errors as JSON, in frames that begin with their length.

Nothing is unpickled, and nothing that comes back is trusted: whatever a hostile document made of the reading process, the worker gets
strings of the form below, or a `ValueError`.

    frame     4 bytes, the length of what follows, most significant first; then so many bytes
    request   frame {"mime_type", "uri", "title"}, frame with the document's bytes
    reply     frame {"document": …} or {"error": …}; "stale": true when the reader must be replaced
"""

from __future__ import annotations

import json
import struct
from typing import Any
from urllib.parse import urlsplit

from services.chassis.errors import InvalidArgument
from services.retriever.structure import (
    DocumentEncrypted,
    DocumentHasNoText,
    DocumentTooCostly,
    DocumentTooLarge,
    DocumentTypeUnsupported,
    DocumentUnreadable,
    Items,
    Rows,
    Section,
    StructuredDocument,
    Table,
)

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 512 << 20
NO_MEMORY_STATUS = 12
"""Exit status of a reader that ran into the limit of its memory (the number of ENOMEM)."""
_BLOCKS: dict[str, type[str]] = {"p": str, "i": Items, "t": Table, "r": Rows}
_LETTERS = {kind: letter for letter, kind in _BLOCKS.items()}
_ERRORS: dict[str, type[InvalidArgument]] = {
    kind.__name__: kind
    for kind in (DocumentUnreadable, DocumentHasNoText, DocumentEncrypted, DocumentTooLarge, DocumentTypeUnsupported, DocumentTooCostly)
}


def frame(content: bytes) -> bytes:
    """The bytes with their length before them."""
    return LENGTH.pack(len(content)) + content


def document_message(document: StructuredDocument) -> dict[str, Any]:
    """A document as JSON."""
    sections = [
        [section.heading_path, section.anchor, section.kind, [[_LETTERS[type(block)], str(block)] for block in section.blocks]]
        for section in document.sections
    ]
    return {"title": document.title, "uri": document.uri, "sections": sections}


def document_of(message: Any) -> StructuredDocument:
    """The document. Raises `ValueError` for anything that `document_message` cannot have made."""
    try:
        sections = tuple(
            Section(
                tuple(_text(heading) for heading in path),
                _text(anchor),
                tuple(_BLOCKS[letter](_text(block)) for letter, block in blocks),
                _text(kind),
            )
            for path, anchor, kind, blocks in message["sections"]
        )
        uri = _text(message["uri"])
        if uri and urlsplit(uri).scheme not in ("http", "https"):
            raise ValueError("a document lives at http or https")
        return StructuredDocument(_text(message["title"]), sections, uri)
    except (TypeError, KeyError) as exc:
        raise ValueError("what came back is no document") from exc


def error_message(error: InvalidArgument) -> dict[str, Any]:
    """An error as JSON."""
    kind = next((each.__name__ for each in type(error).__mro__ if each.__name__ in _ERRORS), DocumentUnreadable.__name__)
    return {"kind": kind, "message": error.message, "reason": error.reason, "violations": error.violations}


def error_of(message: Any) -> InvalidArgument:
    """The error. Raises `ValueError` for anything that `error_message` cannot have made."""
    try:
        violations = [(_text(field), _text(what)) for field, what in message["violations"]]
        return _ERRORS[message["kind"]](_text(message["message"]), reason=_text(message["reason"]), violations=violations)
    except (TypeError, KeyError) as exc:
        raise ValueError("what came back is no error") from exc


def dump(message: dict[str, Any]) -> bytes:
    """A message as a frame."""
    return frame(json.dumps(message).encode())


def load(content: bytes) -> dict[str, Any]:
    """The message. Raises `ValueError` for what is no JSON object."""
    try:
        message = json.loads(content)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value
