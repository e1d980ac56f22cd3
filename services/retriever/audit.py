"""What is left of a document, place by place: the proof that a deletion was one.

    a record of it        catalog, indexes, queue, leases
    its words             chunks with their vectors in every collection of the corpus, bytes, bytes noted for sweeping
    its name only         records of operations (seven days after they end), what its source remembers of the place (as long as the source)

The retriever keeps no other copy: nothing of a search is cached, and request ids are kept beside hashes.
"""

from __future__ import annotations

from services.retriever.domain import CorpusNotFound
from services.retriever.fsspec_blobs import FsspecBlobs
from services.retriever.milvus_store import MilvusStore
from services.retriever.redis_traces import RedisTraces

CHUNKS = "chunks in the store"
BYTES = "bytes"


class Audit:
    """The use case."""

    def __init__(self, store: MilvusStore, catalog: RedisTraces, blobs: FsspecBlobs) -> None:
        self._store = store
        self._catalog = catalog
        self._blobs = blobs

    async def traces(self, corpus_id: str, document: str) -> list[tuple[str, int]]:
        """Every place and how many entries of the document it holds, in a fixed order. The document need not exist.

        Raises `CorpusNotFound`, and what catalog, store and blobs raise when one cannot be asked: an audit is whole or none.
        """
        await self._store.get(corpus_id)
        found = await self._catalog.of_document(corpus_id, document)
        words = [
            (CHUNKS, await self._chunks(corpus_id, document)),
            (BYTES, await self._blobs.count_of_document(corpus_id, document)),
        ]
        return [*found.records, *words, *found.names]

    async def _chunks(self, corpus_id: str, document: str) -> int:
        try:
            return await self._store.count_of_document(corpus_id, document)
        except CorpusNotFound:  # a collection was dropped at this moment; what is left is counted anew
            return await self._store.count_of_document(corpus_id, document)
