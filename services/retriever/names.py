"""Ids and resource names: how they are made and taken apart. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence

from services.chassis.errors import InvalidArgument
from services.retriever.tenancy import shown

_CORPUS_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
_DOCUMENT_ID = re.compile(r"[0-9a-f]{32}")
_OPERATION_ID = re.compile(r"[0-9a-f]{32}")
_CHUNK_ID = re.compile(r"[0-9a-f]{32}")


def is_corpus_id(text: str) -> bool:
    """Whether a corpus may be called so."""
    return _CORPUS_ID.fullmatch(text) is not None


def corpus_id_of(name: str, field: str) -> str:
    """The id in `corpora/{corpus}`. Raises `InvalidArgument` naming the field."""
    head, _, corpus_id = name.partition("/")
    if head != "corpora" or not is_corpus_id(corpus_id):
        raise InvalidArgument.of([(field, "must be `corpora/{corpus}`")])
    return corpus_id


def document_of(name: str, field: str) -> tuple[str, str]:
    """Corpus id and document id in `corpora/{corpus}/documents/{document}`. Raises `InvalidArgument` naming the field."""
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "corpora" or parts[2] != "documents" or not is_corpus_id(parts[1]) or not parts[3]:
        raise InvalidArgument.of([(field, "must be `corpora/{corpus}/documents/{document}`")])
    return parts[1], parts[3]


def chunk_of(name: str) -> tuple[str, str, str] | None:
    """Ids of corpus, document and chunk in `corpora/{corpus}/documents/{document}/chunks/{chunk}`; None for anything else."""
    parts = name.split("/")
    if len(parts) != 6 or parts[::2] != ["corpora", "documents", "chunks"] or not is_corpus_id(parts[1]) or not parts[3] or not parts[5]:
        return None
    return parts[1], parts[3], parts[5]


def is_chunk_id(text: str) -> bool:
    """Whether this service could have made the id."""
    return _CHUNK_ID.fullmatch(text) is not None


def is_document_id(text: str) -> bool:
    """Whether this service could have made the id."""
    return _DOCUMENT_ID.fullmatch(text) is not None


def operation_id_of(name: str) -> str:
    """The id in `operations/{operation}`; empty for an id this service cannot have made. Raises `InvalidArgument`."""
    head, _, operation_id = name.partition("/")
    if head != "operations" or not operation_id:
        raise InvalidArgument.of([("name", "must be `operations/{operation}`")])
    return operation_id if _OPERATION_ID.fullmatch(operation_id) else ""


def document_name(corpus_id: str, document_id: str) -> str:
    """Resource name of a document, as the tenant knows it; the corpus's id may be the inner one."""
    return f"corpora/{shown(corpus_id)}/documents/{document_id}"


def chunk_name(corpus_id: str, document_id: str, chunk_id: str) -> str:
    """Resource name of a chunk."""
    return f"{document_name(corpus_id, document_id)}/chunks/{chunk_id}"


def document_id(uri: str) -> str:
    """Id of the document at a URI."""
    return hashlib.sha256(uri.encode()).hexdigest()[:32]


def chunk_ids(document: str, embedding_texts: Sequence[str]) -> list[str]:
    """Ids of a document's chunks, in order.

    An id follows from the document and from what is embedded, not from the place: a chunk that only moved keeps its id and with it
    its vector. Equal texts within a document are told apart by their count.
    """
    seen: dict[str, int] = {}
    ids = []
    for text in embedding_texts:
        occurrence = seen[text] = seen.get(text, -1) + 1
        ids.append(hashlib.sha256(f"{document}\0{occurrence}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()[:32])
    return ids


def version_digest(sha256: str, title: str, mime_type: str, metadata: Mapping[str, str], reader: str) -> str:
    """Equal exactly for versions that would be indexed alike. `reader` names everything else that decides about the chunks."""
    content = json.dumps([sha256, title, mime_type, sorted(metadata.items()), reader], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def fresh_id() -> str:
    """An id that nothing else has."""
    return uuid.uuid4().hex
