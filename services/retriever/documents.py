"""Taking documents in, showing them, and deleting them. Indexing is the worker's: see ingestion.py."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace

from services.chassis.errors import CorellaError, InvalidArgument, Unavailable
from services.chassis.telemetry import carrier, get_logger
from services.retriever.analysis import ANALYSIS_VERSION
from services.retriever.celery_queue import CeleryQueue
from services.retriever.domain import Corpus, Document, DocumentNotFound, DocumentState, EmbeddingMode, Version
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.idempotency import Request
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import document_id, document_name, fresh_id, version_digest
from services.retriever.redis_catalog import RedisCatalog

log = get_logger(__name__)

CHUNKER_VERSION = 1
"""Part of what makes two versions alike: raise it when readers or chunker give other chunks for the same bytes."""
_LOCK_SECONDS = 15.0
_LOCK_WAIT_SECONDS = 20.0
"""Longer than a lock lives, so that the lock of a killed worker does not stop a deletion."""


@dataclass(frozen=True)
class Incoming:
    """What a caller says about a document before its bytes."""

    uri: str
    title: str
    mime_type: str
    metadata: Mapping[str, str]


class Documents:
    """The use cases of documents."""

    def __init__(self, store: MilvusStore, catalog: RedisCatalog, blobs: FsspecBlobs, queue: CeleryQueue) -> None:
        self._store = store
        self._catalog = catalog
        self._blobs = blobs
        self._queue = queue

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
        reader = f"{CHUNKER_VERSION} {ANALYSIS_VERSION} {corpus.collection}"
        version = Version(
            uri=incoming.uri,
            title=incoming.title,
            mime_type=incoming.mime_type,
            metadata=dict(incoming.metadata),
            sha256=writer.sha256,
            size=writer.size,
            digest=version_digest(writer.sha256, incoming.title, incoming.mime_type, incoming.metadata, reader),
            generation=generation,
            blob=blob,
            traceparent=carrier().get("traceparent", ""),
        )
        return made, version

    async def commit(self, corpus: Corpus, documents: Sequence[tuple[str, Version]], request_id: str) -> str:
        """Makes received documents known and has them indexed. Returns the id of the operation."""
        content = hashlib.sha256("\n".join(f"{d} {version.digest}" for d, version in documents).encode()).hexdigest()
        request = Request("IngestDocuments", request_id, f"{corpus.id} {content}")
        operation, unused = await self._catalog.commit(corpus.id, fresh_id(), documents, request)
        await self.drop_blobs(unused)
        await self._queue.wake(len(documents))
        return operation

    async def discard(self, documents: Sequence[tuple[str, Version]]) -> None:
        """Takes back what was received and not committed."""
        await self.drop_blobs([version.blob for _, version in documents])

    async def get(self, corpus_id: str, document: str) -> Document:
        """One document. Raises `CorpusNotFound`, `DocumentNotFound`."""
        corpus = await self._store.get(corpus_id)
        found = await self._catalog.get(corpus_id, document)
        if found is None:
            raise DocumentNotFound(document_name(corpus_id, document))
        return (await self._counted(corpus, [found]))[0]

    async def content(self, document: Document) -> bytes:
        """The bytes of the version handed in last."""
        return await self._blobs.read(document.version.blob)

    async def list_documents(self, corpus_id: str, state: DocumentState | None, size: int, after: str) -> tuple[list[Document], str, int]:
        """Documents by id, where the next page begins, and how many there are in all."""
        corpus = await self._store.get(corpus_id)
        documents, position, total = await self._catalog.list_documents(corpus_id, state, size, after)
        return await self._counted(corpus, documents), position, total

    async def delete(self, corpus_id: str, document: str, *, allow_missing: bool, request_id: str) -> None:
        """Deletes a document, its chunks and its bytes. When this returns, no search that begins later finds it.

        A deletion that was interrupted is completed by repeating it; the upkeep repeats it too.
        """
        request = Request("DeleteDocument", request_id, f"{corpus_id} {document} {allow_missing}")
        if await self._catalog.answered(request) is not None:
            return
        corpus = await self._store.get(corpus_id)
        blobs = await self._catalog.begin_delete(corpus_id, document)
        if blobs is None:
            if not allow_missing:
                raise DocumentNotFound(document_name(corpus_id, document))
            return
        # A worker that is writing the document at this moment finishes first; it cannot begin again.
        async with self._catalog.locked(corpus_id, [document], _LOCK_SECONDS, _LOCK_WAIT_SECONDS) as locks:
            if document not in locks.held:
                raise Unavailable("The document is being written; try again.", reason="DOCUMENT_BUSY")
            await self._store.delete_document(corpus, document)
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

    async def _counted(self, corpus: Corpus, documents: Sequence[Document]) -> list[Document]:
        if corpus.mode is EmbeddingMode.EAGER or not documents:
            return [replace(document, embedded_chunk_count=document.chunk_count) for document in documents]
        counts = await self._store.embedded_of(corpus, [document.id for document in documents])
        return [replace(document, embedded_chunk_count=counts[document.id]) for document in documents]
