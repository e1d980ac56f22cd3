"""Shows chunks as they are stored: those of one document, and those of given names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from services.chassis.identity import Caller
from services.retriever.domain import Chunk, Corpus, CorpusNotFound, DocumentNotFound, DocumentNotReadable
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import document_name, is_chunk_id
from services.retriever.ports import Readers
from services.retriever.redis_catalog import RedisCatalog

_T = TypeVar("_T")


class Chunks:
    """The use cases of chunks.

    A document that was deleted, or taken from the caller, before the call began is not seen by any of them.
    """

    def __init__(self, store: MilvusStore, catalog: RedisCatalog, readers: Readers) -> None:
        self._store = store
        self._catalog = catalog
        self._readers = readers

    async def of_document(self, caller: Caller, corpus_id: str, document: str, size: int, first: int) -> tuple[list[Chunk], int | None]:
        """At most `size` chunks in the document's order from position `first`, and where the next page begins; None: nowhere.

        Raises `CorpusNotFound`, `DocumentNotFound`, `StoreUnavailable`, `CatalogUnavailable`, and `DocumentNotReadable` for an
        administrator who may not read it.
        """
        readable = await self._readers.readable(corpus_id, caller)

        async def read(corpus: Corpus) -> tuple[list[Chunk], int | None]:
            found = await self._catalog.get(corpus_id, document)
            if found is None or not (readable.sees_all or readable.admits(found.access_id)):
                raise DocumentNotFound(document_name(corpus_id, document))
            if not readable.admits(found.access_id):
                raise DocumentNotReadable(document_name(corpus_id, document))
            # One more than asked for: it tells whether there is a next page.
            stored = await self._store.positions(corpus, document, first, first + size, readable.expression)
            # While a new version is written there may be two chunks at one position; the new one will stay.
            stored.sort(key=lambda chunk: (chunk.index, chunk.generation != found.version.generation))
            at: dict[int, Chunk] = {}
            for chunk in stored:
                at.setdefault(chunk.index, chunk)
            return [chunk for place, chunk in at.items() if place < first + size], first + size if first + size in at else None

        return await self._fresh(corpus_id, read)

    async def named(self, caller: Caller, corpus_id: str, ids: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Chunk]:
        """Chunks by (document, chunk); those that are not there, or that the caller may not read, are left out.

        Raises `CorpusNotFound`, `StoreUnavailable`, `CatalogUnavailable`.
        """
        readable = await self._readers.readable(corpus_id, caller)
        wanted = list(dict.fromkeys(chunk for _, chunk in ids if is_chunk_id(chunk)))

        async def read(corpus: Corpus) -> dict[tuple[str, str], Chunk]:
            stored = await self._store.fetch(corpus, wanted, readable.expression) if wanted else []
            found = {(chunk.document_id, chunk.id): chunk for chunk in stored}
            return {each: found[each] for each in ids if each in found}

        return await self._fresh(corpus_id, read)

    async def _fresh(self, corpus_id: str, read: Callable[[Corpus], Awaitable[_T]]) -> _T:
        try:
            return await read(await self._store.get(corpus_id))
        except CorpusNotFound:
            # It may have been made anew a moment ago; what was remembered of it is then looked up again.
            return await read(await self._store.get(corpus_id))
