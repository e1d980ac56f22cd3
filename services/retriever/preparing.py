"""Makes the chunks of documents for one index: reads, cuts, takes over vectors that are there, and embeds the rest. Writes nothing.

read (child process) ─ cut (thread) ─ reuse vectors of unchanged chunks ─ embed the others, of all documents together
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from opentelemetry import context as otel_context
from opentelemetry.context import Context

from services.chassis.steps import step
from services.chassis.telemetry import meter
from services.retriever.cache_metrics import VECTORS, looked_up
from services.retriever.chunking import cut, embedding_text
from services.retriever.document_spans import SharedStep
from services.retriever.domain import Chunk, Corpus, ModelMismatch, Version
from services.retriever.embedders import Embedders
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import chunk_ids, document_name
from services.retriever.parsing_sandbox import ParsingSandbox

_chunks = meter.create_counter("corella.ingest.chunks", description="Chunks written, by where their vectors came from.")


@dataclass
class Prepared:
    """A document's title and chunks; those that need no embedding have their vectors."""

    title: str
    chunks: list[Chunk]
    context: Context = field(default_factory=Context, repr=False, compare=False)
    """The trace context it was read in, which its further spans belong to."""

    @property
    def embedded(self) -> int:
        """Chunks that have a vector."""
        return sum(chunk.vector is not None for chunk in self.chunks)


@dataclass(frozen=True)
class _Missing:
    """A chunk without a vector: the document's place among those that have such, and the chunk's in it."""

    document: int
    place: int


class Preparing:
    """What it takes to make chunks. One per process."""

    def __init__(self, store: MilvusStore, blobs: FsspecBlobs, embedder: Embedders, *, sandbox: ParsingSandbox, embed_texts: int) -> None:
        self._store = store
        self._blobs = blobs
        self._embedder = embedder
        self._sandbox = sandbox
        self._embed_texts = embed_texts

    async def read(self, corpus: Corpus, document_id: str, version: Version, stored_in: Sequence[Corpus]) -> Prepared:
        """The chunks of a version as this index cuts them, with the vectors that `stored_in` has for them.

        Raises what reading and the sandbox raise, and `FileNotFoundError` when the bytes are gone.
        """
        context = otel_context.get_current()
        attributes = {"corella.document": document_name(corpus.id, document_id), "corella.document.mime_type": version.mime_type}
        with step("read document", attributes):
            content = await self._blobs.read(version.blob)
            read = await self._sandbox.read(content, version.mime_type, version.uri, version.title)
        count_tokens = self._embedder.counter(asyncio.get_running_loop(), corpus.fingerprint)

        def cut_up() -> Prepared:
            pieces = cut(read, corpus.max_tokens, corpus.overlap_tokens, count_tokens)
            ids = chunk_ids(document_id, [embedding_text(read.title, piece.heading_path, piece.text) for piece in pieces])
            chunks = [
                Chunk(
                    id=chunk_id,
                    document_id=document_id,
                    generation=version.generation,
                    uri=read.uri or version.uri,
                    anchor=piece.anchor,
                    title=read.title,
                    heading_path=piece.heading_path,
                    text=piece.text,
                    index=piece.index,
                    kind=piece.kind,
                    metadata=version.metadata,
                )
                for chunk_id, piece in zip(ids, pieces, strict=True)
            ]
            return Prepared(read.title, chunks, context)

        with step("chunk") as span:
            prepared = await asyncio.to_thread(cut_up)
            span.set_attribute("corella.chunks", len(prepared.chunks))
        for index in stored_in:
            # An id follows from what is embedded, so a chunk that is there already has the right vector.
            stored = await self._store.fetch(index, [chunk.id for chunk in prepared.chunks if chunk.vector is None], with_vectors=True)
            vectors = {chunk.id: chunk.vector for chunk in stored if chunk.vector is not None}
            prepared.chunks = [replace(chunk, vector=vectors[chunk.id]) if chunk.id in vectors else chunk for chunk in prepared.chunks]
            _chunks.add(len(vectors), {"corella.vector": "reused"})
            looked_up(VECTORS, hits=len(vectors), misses=0)
        return prepared

    async def embed(self, corpus: Corpus, prepared: Sequence[Prepared]) -> None:
        """Gives every chunk a vector; texts of all documents go to the embedder together. Raises `ModelMismatch`."""
        wanting = [each for each in prepared if each.embedded < len(each.chunks)]
        missing = [
            _Missing(number, place)
            for number, each in enumerate(wanting)
            for place, chunk in enumerate(each.chunks)
            if chunk.vector is None
        ]
        parts = [missing[start : start + self._embed_texts] for start in range(0, len(missing), self._embed_texts)]
        counts = [{"corella.chunks": len(each.chunks), "corella.chunks.reused": each.embedded} for each in wanting]
        with SharedStep("embed", [each.context for each in wanting], counts) as spans:

            async def embed(part: Sequence[_Missing]) -> np.ndarray:
                chunks = [wanting[one.document].chunks[one.place] for one in part]
                texts = [embedding_text(chunk.title, chunk.heading_path, chunk.text) for chunk in chunks]
                with spans.serving(*(one.document for one in part)):
                    vectors, fingerprint = await self._embedder.embed_documents(texts, corpus.fingerprint)
                if fingerprint != corpus.fingerprint:
                    raise ModelMismatch(corpus, fingerprint)
                return vectors

            # Two calls under way keep the embedder busy while the answer of one is on its way.
            for start in range(0, len(parts), 2):
                pair = parts[start : start + 2]
                for part, vectors in zip(pair, await asyncio.gather(*map(embed, pair)), strict=True):
                    for one, vector in zip(part, vectors, strict=True):
                        chunks = wanting[one.document].chunks
                        chunks[one.place] = replace(chunks[one.place], vector=vector)
        _chunks.add(len(missing), {"corella.vector": "computed"})
        looked_up(VECTORS, hits=0, misses=len(missing))
