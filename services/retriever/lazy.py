"""Vectors for chunks that were stored without one (A-d): of the hits of a search while it is answered, and of the rest later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from services.chassis.telemetry import get_logger
from services.retriever.chunking import embedding_text
from services.retriever.domain import Chunk, Corpus, Metric, ModelMismatch, Vector
from services.retriever.ports import Embedder, Locking, Passages

log = get_logger(__name__)

_BATCH = 16
"""Texts embedded at a time while a search waits: few enough to stop in time."""
_LOCK_SECONDS = 30.0


def text_of(chunk: Chunk) -> str:
    """What is embedded for a chunk."""
    return embedding_text(chunk.title, chunk.heading_path, chunk.text)


def nearness(metric: Metric, query: Vector, vectors: np.ndarray) -> np.ndarray:
    """Nearness of each vector to the query as the store would give it; float32 of shape (vectors,), higher is nearer."""
    if metric is Metric.L2:
        return -np.linalg.norm(vectors - query, axis=1)
    products = vectors @ query
    if metric is Metric.INNER_PRODUCT:
        return products
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    return products / np.maximum(lengths, np.finfo(np.float32).tiny)


async def embed_hits(  # noqa: PLR0917 each is a different thing
    passages: Passages, embedder: Embedder, corpus: Corpus, ids: Sequence[str], where: str, seconds: float
) -> list[Chunk]:
    """Embeds those of these chunks that fulfil `where`, best first, as many as the time allows, and returns them with their vectors.

    Writes nothing.
    """
    ends_at = time.monotonic() + seconds
    places = {chunk_id: place for place, chunk_id in enumerate(ids)}
    chunks = sorted(await passages.fetch(corpus, ids, where), key=lambda chunk: places[chunk.id])
    embedded: list[Chunk] = []
    for start in range(0, len(chunks), _BATCH):
        left = ends_at - time.monotonic()
        if left <= 0:
            break
        batch = chunks[start : start + _BATCH]
        try:
            embedded += await asyncio.wait_for(with_vectors(embedder, corpus, batch), left)
        except TimeoutError:
            break
    return embedded


async def with_vectors(embedder: Embedder, corpus: Corpus, chunks: Sequence[Chunk]) -> list[Chunk]:
    """The chunks with their vectors. Raises `ModelMismatch`."""
    vectors, fingerprint = await embedder.embed_documents([text_of(chunk) for chunk in chunks], corpus.fingerprint)
    if fingerprint != corpus.fingerprint:
        raise ModelMismatch(corpus, fingerprint)
    return [replace(chunk, vector=vector, has_vector=True) for chunk, vector in zip(chunks, vectors, strict=True)]


async def write_back(passages: Passages, locking: Locking, corpus: Corpus, embedded: Sequence[Chunk]) -> int:
    """Adds the vectors to the store. Returns how many chunks were written.

    A chunk may have been deleted or replaced since it was read. Nothing is written without the lock of its document, and under the lock
    each chunk is compared with what is stored now: a deleted chunk does not come back, and who may read it stays as it is.
    """
    documents = {chunk.document_id for chunk in embedded}
    async with locking.locked(corpus.id, sorted(documents), _LOCK_SECONDS, 0.0) as locks:
        mine = {chunk.id: chunk for chunk in embedded if chunk.document_id in locks.held}
        if not mine:
            return 0
        present = await passages.fetch(corpus, list(mine))
        wanted = [
            replace(now, vector=mine[now.id].vector) for now in present if not now.has_vector and text_of(now) == text_of(mine[now.id])
        ]
        if not wanted or not await locks.renewed():
            return 0
        await passages.upsert(corpus, wanted)
        return len(wanted)
