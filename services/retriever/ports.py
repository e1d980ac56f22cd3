"""What finding and indexing need from outside. Implementations: milvus_store.py, remote_embedder.py, redis_catalog.py."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import numpy as np

from services.chassis.identity import Caller
from services.retriever.access import Readable
from services.retriever.domain import Chunk, Corpus, StoreHit, Vector


class Passages(Protocol):
    """Chunks and vectors, by corpus."""

    async def get(self, corpus_id: str) -> Corpus:
        """The corpus. Raises `CorpusNotFound`."""

    async def keyword(self, corpus: Corpus, terms: str, limit: int, expression: str) -> list[StoreHit]:
        """The best chunks by BM25, best first."""

    async def nearest(self, corpus: Corpus, vector: Vector, limit: int, expression: str) -> list[StoreHit]:
        """The nearest chunks that have a vector, nearest first."""

    async def fetch(self, corpus: Corpus, ids: Sequence[str], where: str = "", *, with_vectors: bool = False) -> list[Chunk]:
        """Chunks by id, in no particular order; those that do not exist or do not fulfil `where` are left out."""

    async def upsert(self, corpus: Corpus, chunks: Sequence[Chunk]) -> None:
        """Writes chunks; those of the same id are replaced."""


class Readers(Protocol):
    """Who may read what."""

    async def readable(self, corpus_id: str, caller: Caller) -> Readable:
        """What the caller may read in a corpus, as it stands now. Raises `CatalogUnavailable`: not knowing is not a permission."""


class Embedder(Protocol):
    """Text to vectors, with the fingerprint of the model that made them. `fingerprint` is the one wanted, as far as it can be had."""

    async def embed_query(self, text: str, fingerprint: str = "") -> tuple[Vector, str]:
        """The vector of a question."""

    async def embed_documents(self, texts: Sequence[str], fingerprint: str = "") -> tuple[np.ndarray, str]:
        """Vectors of texts, float32 of shape (texts, dimensions)."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text in 0…1, in the order given."""


class DocumentLocks(Protocol):
    """The right to change documents' chunks, for a while."""

    held: set[str]

    async def renewed(self) -> bool:
        """Whether all that was taken is still held, from now on for the full time."""


class Locking(Protocol):
    """Gives out the right to change documents' chunks."""

    def locked(
        self, corpus: str, documents: Sequence[str], seconds: float, wait_seconds: float
    ) -> AbstractAsyncContextManager[DocumentLocks]:
        """Holds the locks of these documents, as far as they can be had within `wait_seconds`."""
