"""Which types of document a place's files are taken as. Pure."""

from __future__ import annotations

from services.retriever.readers import HTML, MARKDOWN, READERS, TEXT, TICKET, mime_type_for

_ALIASES = {"text/x-markdown": MARKDOWN, "application/xhtml+xml": HTML}
_UNSAID = frozenset(("", "application/octet-stream", "binary/octet-stream", "application/x-download", "application/force-download"))


def document_type(said: str, name: str) -> str | None:
    """The type of a file by what its server says, or by its name where the server says nothing; None for one that is not read.

    Tickets are left out: they come from a connector that makes them, and any other JSON would only fail to be one.
    """
    essence = said.partition(";")[0].strip().lower()
    essence = _ALIASES.get(essence, essence)
    if essence in _UNSAID or (essence == TEXT and mime_type_for(name) == MARKDOWN):
        essence = mime_type_for(name) or ""
    return essence if essence in READERS and essence != TICKET else None
