"""Takes the stream of `IngestDocuments` apart, and reads directories: both end in `Documents.commit`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from corella.v1 import retriever_pb2
from services.chassis.errors import InvalidArgument, Violation
from services.retriever import directory_source, requests
from services.retriever.documents import Documents, Incoming
from services.retriever.domain import Corpus, Version
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import corpus_id_of, document_id
from services.retriever.settings import LimitSettings
from services.retriever.tenancy import inner

MAX_PART_BYTES = 1 << 20


class Intake:
    """Receives documents whole or not at all: what was received is discarded when anything goes wrong before the end."""

    def __init__(self, store: MilvusStore, documents: Documents, limits: LimitSettings, import_roots: Sequence[Path]) -> None:
        self._store = store
        self._documents = documents
        self._limits = limits
        self._import_roots = import_roots

    async def from_stream(self, tenant: str, parts: AsyncIterator[retriever_pb2.IngestDocumentsRequest]) -> str:
        """Takes a stream in. Returns the id of the operation."""
        first = await anext(parts, None)
        if first is None or first.WhichOneof("part") != "start":
            raise InvalidArgument.of([("start", "must be the first message of the stream")])
        requests.check(requests.request_id(first.start.request_id))
        corpus = await self._store.get(inner(tenant, corpus_id_of(first.start.parent, "start.parent")))
        stream = _Parts(parts)
        received: list[tuple[str, Version]] = []
        try:
            while (document := await stream.next_document()) is not None:
                incoming = requests.incoming(document, f"documents[{len(received)}]")
                await self._receive(corpus, incoming, stream.content(), received)
            operation = await self._commit(corpus, received, first.start.request_id)
        except BaseException:
            await asyncio.shield(self._documents.discard(received))
            raise
        await self._documents.regrant_waiting(corpus, [made for made, _ in received])
        return operation

    async def from_directory(self, tenant: str, request: retriever_pb2.ImportDocumentsRequest) -> str:
        """Reads a directory. Returns the id of the operation."""
        violations: list[Violation] = requests.request_id(request.request_id)
        if request.WhichOneof("source") != "directory":
            violations.append(("directory", "is required"))
        requests.check(violations)
        corpus = await self._store.get(inner(tenant, corpus_id_of(request.parent, "parent")))
        source = request.directory
        root = directory_source.allowed(source.path, directory_source.roots_of(tenant, self._import_roots))
        paths = await asyncio.to_thread(lambda: list(directory_source.files(root, source.include, source.exclude)))
        received: list[tuple[str, Version]] = []
        try:
            for path in paths:
                uri = directory_source.uri_of(root, path, source.base_uri)
                incoming = requests.incoming(retriever_pb2.Document(uri=uri), f"file {path}")
                await self._receive(corpus, incoming, directory_source.content(root, path), received)
            operation = await self._commit(corpus, received, request.request_id)
        except BaseException:
            await asyncio.shield(self._documents.discard(received))
            raise
        await self._documents.regrant_waiting(corpus, [made for made, _ in received])
        return operation

    async def _receive(
        self, corpus: Corpus, incoming: Incoming, content: AsyncIterator[bytes], received: list[tuple[str, Version]]
    ) -> None:
        field = f"documents[{len(received)}]"
        if len(received) >= self._limits.stream_max_documents:
            text = f"at most {self._limits.stream_max_documents:,} at a time; send the others in another call"
            raise InvalidArgument.of([(field, text)])
        made = document_id(incoming.uri)
        if any(made == other for other, _ in received[-1:]) or made in {other for other, _ in received}:
            raise InvalidArgument.of([(f"{field}.uri", f"`{incoming.uri}` was sent before in the same call")])
        received.append(await self._documents.receive(corpus, incoming, content, self._limits.document_max_bytes))

    async def _commit(self, corpus: Corpus, received: Sequence[tuple[str, Version]], request_id: str) -> str:
        if not received:
            raise InvalidArgument.of([("documents", "there is none")])
        return await self._documents.commit(corpus, received, request_id)


class _Parts:
    """The stream, one document at a time."""

    def __init__(self, parts: AsyncIterator[retriever_pb2.IngestDocumentsRequest]) -> None:
        self._parts = parts
        self._next: retriever_pb2.IngestDocumentsRequest | None = None

    async def next_document(self) -> retriever_pb2.Document | None:
        """What is said about the next document; None at the end of the stream."""
        part = self._next or await anext(self._parts, None)
        self._next = None
        if part is None:
            return None
        if part.WhichOneof("part") != "document":
            raise InvalidArgument.of([(part.WhichOneof("part") or "part", "a `document` must come first; `start` is sent once only")])
        return part.document

    async def content(self) -> AsyncIterator[bytes]:
        """The bytes of the document begun last."""
        async for part in self._parts:
            if part.WhichOneof("part") != "content":
                self._next = part
                return
            if len(part.content) > MAX_PART_BYTES:
                raise InvalidArgument.of([("content", f"must have at most {MAX_PART_BYTES:,} bytes a message")])
            yield part.content
