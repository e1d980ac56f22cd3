"""Taking documents in, showing them, changing who may read them, and deleting them. Indexing is the worker's: see ingestion.py.

`corpus_id` is the inner id everywhere (tenancy.py). A document that the caller may not read is one that is not there; only
administrators are shown its outline.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace

from services.chassis.errors import CorellaError, InvalidArgument, Unavailable
from services.chassis.identity import Caller
from services.chassis.telemetry import carrier, get_logger
from services.retriever.access import NOBODY_ID, UNRESTRICTED, Access, Readable
from services.retriever.analysis import ANALYSIS_VERSION
from services.retriever.celery_queue import CeleryQueue
from services.retriever.domain import (
    Corpus,
    Document,
    DocumentNotFound,
    DocumentNotReadable,
    DocumentState,
    EmbeddingMode,
    Version,
)
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.idempotency import Request
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import document_id, document_name, fresh_id, version_digest
from services.retriever.ports import Readers
from services.retriever.redis_catalog import RedisCatalog

log = get_logger(__name__)

CHUNKER_VERSION = 1
"""Part of what makes two versions alike: raise it when readers or chunker give other chunks for the same bytes."""
MADE_BY = f"{CHUNKER_VERSION} {ANALYSIS_VERSION}"
"""What an index that is begun now is made by."""
_LOCK_SECONDS = 15.0
_LOCK_WAIT_SECONDS = 20.0
"""Longer than a lock lives, so that the lock of a killed worker does not stop a deletion."""
_REGRANTS_AT_ONCE = 8


@dataclass(frozen=True)
class Incoming:
    """What a caller says about a document before its bytes."""

    uri: str
    title: str
    mime_type: str
    metadata: Mapping[str, str]
    access: Access | None = None
    """None: a document that is there keeps what it has, a new one gets the corpus's default."""


def digest_of(corpus: Corpus, incoming: Incoming, sha256: str) -> str:
    """Equal exactly for what would be indexed alike in this corpus; who may read it is not part of it."""
    # Not the collection: what is unchanged stays so when the corpus is indexed anew.
    reader = f"{MADE_BY} {corpus.id}"
    return version_digest(sha256, incoming.title, incoming.mime_type, incoming.metadata, reader)


class Documents:
    """The use cases of documents."""

    def __init__(self, store: MilvusStore, catalog: RedisCatalog, blobs: FsspecBlobs, queue: CeleryQueue, readers: Readers) -> None:
        self._store = store
        self._catalog = catalog
        self._blobs = blobs
        self._queue = queue
        self._readers = readers

    async def receive(self, corpus: Corpus, incoming: Incoming, content: AsyncIterator[bytes], max_bytes: int) -> tuple[str, Version]:
        """Stores the bytes of one document. It is not known to anyone before `commit`."""
        made, generation = document_id(incoming.uri), fresh_id()
        blob = f"{corpus.id}/{made}/{generation}"
        await self._catalog.stage(blob)
        async with self._blobs.writing(blob) as writer:
            async for part in content:
                if writer.size + len(part) > max_bytes:
                    text = f"`{incoming.uri}` has more than {max_bytes:,} bytes"
                    raise InvalidArgument.of([("content", text)], reason="DOCUMENT_TOO_LARGE")
                await writer.write(part)
        version = Version(
            uri=incoming.uri,
            title=incoming.title,
            mime_type=incoming.mime_type,
            metadata=dict(incoming.metadata),
            sha256=writer.sha256,
            size=writer.size,
            digest=digest_of(corpus, incoming, writer.sha256),
            generation=generation,
            blob=blob,
            traceparent=carrier().get("traceparent", ""),
            access=incoming.access.text if incoming.access else "",
        )
        return made, version

    async def commit(self, corpus: Corpus, documents: Sequence[tuple[str, Version]], request_id: str) -> str:
        """Makes received documents known and has them indexed. Returns the id of the operation.

        `regrant_waiting` must follow before the caller is told: a document that is handed in for other readers than before has them at
        once.
        """
        entries = "\n".join(f"{d} {version.digest} {version.access}" for d, version in documents)
        request = Request("IngestDocuments", request_id, f"{corpus.id} {hashlib.sha256(entries.encode()).hexdigest()}")
        operation, unused = await self._catalog.commit(corpus.id, fresh_id(), documents, request, corpus.default_access)
        await self.drop_blobs(unused)
        await self._queue.wake(len(documents))
        return operation

    async def discard(self, documents: Sequence[tuple[str, Version]]) -> None:
        """Takes back what was received and not committed."""
        await self.drop_blobs([version.blob for _, version in documents])

    async def get(self, caller: Caller, corpus_id: str, document: str, *, content: bool = False) -> tuple[Document, bytes]:
        """One document, on request with the bytes of the version handed in last.

        Raises `CorpusNotFound`, `DocumentNotFound`, and `DocumentNotReadable` for an administrator who asks for bytes it may not read.
        """
        corpus = await self._store.get(corpus_id)
        readable = await self._readers.readable(corpus_id, caller)
        found = await self._visible(readable, corpus_id, document)
        if not content:
            return (await self._counted(corpus, [_as_shown(found, readable)]))[0], b""
        if not readable.admits(found.access_id):
            raise DocumentNotReadable(document_name(corpus_id, document))
        return (await self._counted(corpus, [found]))[0], await self._blobs.read(found.version.blob)

    async def list_documents(
        self, caller: Caller, corpus_id: str, state: DocumentState | None, size: int, after: str
    ) -> tuple[list[Document], str, int]:
        """Documents by id that are shown to the caller, where the next page begins, and how many there are in all."""
        corpus = await self._store.get(corpus_id)
        readable = await self._readers.readable(corpus_id, caller)
        documents, position, total = await self._catalog.list_documents(corpus_id, state, size, after, readable)
        return await self._counted(corpus, [_as_shown(each, readable) for each in documents]), position, total

    async def update_access(self, caller: Caller, corpus_id: str, document: str, access: Access, request_id: str) -> Document:
        """Changes who may read a document. When this returns, every call that begins later goes by it, whatever a worker is doing.

        The catalog has it first, so that a worker that begins to write takes the new access; then the chunks are rewritten under the
        document's lock. What was interrupted between the two is completed by the upkeep. Raises `DocumentNotFound`.
        """
        request = Request("UpdateDocumentAccess", request_id, f"{corpus_id} {document} {access.text}")
        corpus = await self._store.get(corpus_id)
        readable = await self._readers.readable(corpus_id, caller)
        could_read = False
        if await self._catalog.answered(request) is None:
            could_read = readable.admits((await self._visible(readable, corpus_id, document)).access_id)
            if not await self._catalog.update_access(corpus_id, document, access):
                raise DocumentNotFound(document_name(corpus_id, document))
            await self._regrant(corpus, document, request)
        found = await self._catalog.get(corpus_id, document)
        if found is None:
            raise DocumentNotFound(document_name(corpus_id, document))
        # The answer is about a document that the caller could read a moment ago.
        return (await self._counted(corpus, [found if could_read else _as_shown(found, readable)]))[0]

    async def hold_to(self, corpus: Corpus, document: str, access: Access) -> None:
        """Changes who may read a document as its place says, whatever keeps the document itself from being read. Takes effect as
        `update_access` does. A document that is gone needs none."""
        if await self._catalog.update_access(corpus.id, document, access):
            await self._regrant(corpus, document)

    async def regrant_waiting(self, corpus: Corpus, documents: Sequence[str]) -> None:
        """Has the chunks of those of these documents whose access was changed follow it, before it returns."""
        free = asyncio.Semaphore(_REGRANTS_AT_ONCE)

        async def regrant(document: str) -> None:
            async with free:
                await self._regrant(corpus, document)

        waiting = await self._catalog.regranting(corpus.id, documents)
        await asyncio.gather(*map(regrant, waiting))

    async def complete_regrant(self, corpus_id: str, document: str) -> None:
        """Completes a change of access that was interrupted."""
        await self._regrant(await self._store.get(corpus_id), document)

    async def _regrant(self, corpus: Corpus, document: str, request: Request | None = None) -> None:
        # A worker that is writing the document at this moment finishes first; one that begins later takes the access as it is now.
        async with self._catalog.locked(corpus.id, [document], _LOCK_SECONDS, _LOCK_WAIT_SECONDS) as locks:
            if document not in locks.held:
                raise Unavailable("The document is being written; try again.", reason="DOCUMENT_BUSY")
            access = await self._catalog.row_access(corpus.id, document)
            # In every index: one that does not answer now may do so in a moment.
            if access is not None and not await self._store.regrant_everywhere(corpus.id, document, access, locks.renewed):
                raise Unavailable("The document is being written; try again.", reason="DOCUMENT_BUSY")
            await self._catalog.regranted(corpus.id, document, NOBODY_ID if access is None else access, request)

    async def retry(self, caller: Caller, corpus_id: str, documents: Sequence[str], request_id: str) -> str:
        """Has documents that failed indexed again: those named, or all that are shown to the caller. Returns the id of the operation."""
        request = Request("RetryDocuments", request_id, f"{corpus_id} {' '.join(documents)}")
        await self._store.get(corpus_id)
        before = await self._catalog.answered(request)
        if before is not None:
            return before
        readable = await self._readers.readable(corpus_id, caller)
        wanted, failed, after = set(documents), list[str](), ""
        while True:
            page, after, _ = await self._catalog.list_documents(corpus_id, DocumentState.FAILED, 1_000, after, readable)
            failed += [each.id for each in page if not wanted or each.id in wanted]
            if not after:
                break
        operation, queued = await self._catalog.retry(corpus_id, fresh_id(), failed, request)
        if queued:
            await self._queue.wake(queued)
        return operation

    async def delete(self, corpus_id: str, document: str, *, allow_missing: bool, request_id: str, caller: Caller | None = None) -> None:
        """Deletes a document, its chunks and its bytes. When this returns, no search that begins later finds it.

        A deletion that was interrupted is completed by repeating it; the upkeep repeats it too. `caller` is None for the service's own
        work; a caller deletes what is shown to it, and anything else is not there for it.
        """
        request = Request("DeleteDocument", request_id, f"{corpus_id} {document} {allow_missing}")
        if await self._catalog.answered(request) is not None:
            return
        await self._store.get(corpus_id)
        try:
            readable = await self._readers.readable(corpus_id, caller) if caller else UNRESTRICTED
            await self._visible(readable, corpus_id, document)
            blobs = await self._catalog.begin_delete(corpus_id, document)
            if blobs is None:
                raise DocumentNotFound(document_name(corpus_id, document))
        except DocumentNotFound:
            if allow_missing:
                return
            raise
        # A worker that is writing the document at this moment finishes first; it cannot begin again.
        async with self._catalog.locked(corpus_id, [document], _LOCK_SECONDS, _LOCK_WAIT_SECONDS) as locks:
            if document not in locks.held:
                raise Unavailable("The document is being written; try again.", reason="DOCUMENT_BUSY")
            await self._store.delete_everywhere(corpus_id, document)
        await self._blobs.delete(blobs)
        await self._catalog.end_delete(corpus_id, document, request)
        log.info("document_deleted", document=document_name(corpus_id, document))

    async def drop_blobs(self, blobs: Sequence[str]) -> None:
        """Deletes blobs that nothing points to. What cannot be deleted now stays noted, and the upkeep tries again."""
        if not blobs:
            return
        try:
            await self._blobs.delete(blobs)
            await self._catalog.unstage(blobs)
        except (CorellaError, asyncio.CancelledError) as error:
            log.warning("blobs_not_deleted", count=len(blobs), error=str(error))
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _visible(self, readable: Readable, corpus_id: str, document: str) -> Document:
        """The document, if it is shown to the caller. Raises `DocumentNotFound`, the same whether it is hidden or not there."""
        found = await self._catalog.get(corpus_id, document)
        if found is None or not (readable.sees_all or readable.admits(found.access_id)):
            raise DocumentNotFound(document_name(corpus_id, document))
        return found

    async def _counted(self, corpus: Corpus, documents: Sequence[Document]) -> list[Document]:
        if corpus.mode is EmbeddingMode.EAGER or not documents:
            return [replace(document, embedded_chunk_count=document.chunk_count) for document in documents]
        counts = await self._store.embedded_of(corpus, [document.id for document in documents])
        return [replace(document, embedded_chunk_count=counts[document.id]) for document in documents]


def _as_shown(document: Document, readable: Readable) -> Document:
    """What the caller may see of a document that exists for it: all, or for an administrator who may not read it, no words of its own."""
    if readable.admits(document.access_id):
        return document
    return replace(document, title="", version=replace(document.version, title="", metadata={}))
