"""Chunks and vectors in Milvus.

The synchronous client runs in threads: pymilvus's asynchronous one asks Milvus for timestamps in a way that Milvus Lite does not
know. One client for the life of the process, made when it is first needed.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
from pymilvus import MilvusClient
from pymilvus.exceptions import ErrorCode, MilvusException

from services.chassis import deadline
from services.chassis.telemetry import get_logger
from services.retriever import milvus_schema as layout
from services.retriever.cache_metrics import CORPORA, looked_up
from services.retriever.domain import (
    Chunk,
    Corpus,
    CorpusExists,
    CorpusNeedsReindex,
    CorpusNotFound,
    Metric,
    StoreHit,
    StoreUnavailable,
    Vector,
)
from services.retriever.milvus_spans import Attributes, MilvusSpans
from services.retriever.tenancy import tenant_of

log = get_logger(__name__)

# Channels to one address share their back-off within a process, up to two minutes: without these, a client that once met a closed port
# would not see that it opened.
_GRPC_OPTIONS = {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
}
_NOT_LOADED = 101
_UPSERT_ROWS = 1_000
_QUERY_ROWS = 16_384
"""The most that Milvus returns for one query."""
_SWITCH_SECONDS = 5.0
_REGRANT_ROWS = 500
_REGRANT_SECONDS = 10.0
"""Longest write of such rows: shorter than a document's lock lives, so that none arrives after somebody else may have deleted them."""


class MilvusStore:
    """Every corpus is a collection behind an alias."""

    def __init__(
        self, uri: str, token_file: Path | None, timeout_seconds: float, consistency_level: str = "Strong", cache_seconds: float = 2.0
    ) -> None:
        self._uri = uri
        self._spans = MilvusSpans(uri)
        self._token = token_file.read_text().strip() if token_file else ""
        self._timeout_seconds = timeout_seconds
        self._consistency_level = consistency_level
        self._cache_seconds = cache_seconds
        self._known: dict[str, tuple[float, Corpus]] = {}
        self._indexes: dict[str, Corpus] = {}
        self._client: MilvusClient | None = None
        self._connecting = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="milvus")

    # Corpora

    async def create(self, corpus: Corpus) -> None:
        """Makes an empty corpus. Raises `CorpusExists`."""
        alias = layout.alias_of(corpus.id)
        if await self._find(corpus.id) is not None:
            raise CorpusExists(corpus.id)
        await self.make_index(corpus)
        await self._call("create_alias", alias, lambda client, t: client.create_alias(corpus.collection, alias, timeout=t))

    async def make_index(self, corpus: Corpus) -> None:
        """Makes an empty collection that nothing points to. One of the name that is there is replaced."""

        def make(client: MilvusClient, timeout: float) -> None:
            if client.has_collection(corpus.collection, timeout=timeout):
                client.drop_collection(corpus.collection, timeout=timeout)
            client.create_collection(
                corpus.collection,
                schema=layout.schema(corpus.dimensions),
                properties={layout.SETTINGS_PROPERTY: layout.settings_text(corpus)},
                consistency_level=self._consistency_level,
                timeout=timeout,
            )
            # Not waited for: an empty index is there at once, and the client would sleep half a second for each.
            client.create_index(corpus.collection, layout.indexes(corpus.metric), timeout=timeout, sync=False)
            client.load_collection(corpus.collection, timeout=timeout)

        await self._call("create_collection", corpus.collection, make)

    async def get(self, corpus_id: str, *, now: bool = False) -> Corpus:
        """The corpus with the index that answers, as it was known a moment ago at most; with `now` as it is.

        Raises `CorpusNotFound`, `CorpusNeedsReindex`.
        """
        at, corpus = self._known.get(corpus_id, (0.0, None))
        known = corpus is not None and time.monotonic() - at <= self._cache_seconds
        if not now:
            looked_up(CORPORA, hits=int(known), misses=int(not known))
        if now or corpus is None or not known:
            corpus = await self._find(corpus_id)
            if corpus is None:
                self._known.pop(corpus_id, None)
                raise CorpusNotFound(corpus_id)
            self._known[corpus_id] = (time.monotonic(), corpus)
        return corpus

    async def list_corpora(self, tenant: str | None = None) -> list[Corpus]:
        """The corpora of a tenant by id; of all tenants for the service's own work (None). Those that need reindexing are left out."""

        def aliases(client: MilvusClient, timeout: float) -> list[str]:
            names = [name for name in client.list_aliases(timeout=timeout)["aliases"] if name.startswith(layout.ALIAS_PREFIX)]
            return [name for name in names if tenant is None or tenant_of(layout.corpus_in(name)) == tenant]

        async def described(name: str) -> Corpus | None:
            try:
                return await self._describe(name)
            except CorpusNeedsReindex:
                return None

        names = await self._call("list_aliases", "", aliases)
        found = await asyncio.gather(*(described(name) for name in names))
        return sorted((corpus for corpus in found if corpus is not None), key=lambda corpus: corpus.id)

    async def drop(self, corpus_id: str) -> None:
        """Deletes a corpus with everything in it; what an interrupted creation or deletion left behind as well.

        Raises `StoreUnavailable` when Milvus still knows it afterwards: a deletion that is only believed would answer questions.
        """
        alias = layout.alias_of(corpus_id)
        self._known.pop(corpus_id, None)

        def remove(client: MilvusClient, timeout: float) -> None:
            collection = client.describe_collection(alias, timeout=timeout)["collection_name"]
            client.drop_alias(alias, timeout=timeout)
            client.drop_collection(collection, timeout=timeout)

        def left(client: MilvusClient, timeout: float) -> bool:
            return alias in client.list_aliases(timeout=timeout)["aliases"]

        with suppress(CorpusNotFound):
            await self._call("drop_collection", alias, remove)
        if await self._call("list_aliases", "", left):
            raise StoreUnavailable("The store of passages (Milvus) still knows the corpus after it was deleted; delete it again.")

    async def indexes(self, corpus_id: str) -> list[Corpus]:
        """The corpus with each index that there is of it, in no particular order: also with one that is about to be dropped."""

        def collections(client: MilvusClient, timeout: float) -> list[str]:
            return [name for name in client.list_collections(timeout=timeout) if layout.is_collection_of(name, corpus_id)]

        names = await self._call("list_collections", layout.collection_stem(corpus_id), collections)
        found = [await self.index(name) for name in names]
        return [index for index in found if index is not None]

    async def index(self, collection: str) -> Corpus | None:
        """The corpus with the index that is this collection; None when there is no such collection. What is found stays as it is."""
        if collection not in self._indexes:
            found = await self._describe(collection)
            if found is None:
                return None
            self._indexes[collection] = found
        return self._indexes[collection]

    async def switch(self, corpus: Corpus, ends_at: float) -> None:
        """Has this index answer: the alias points to the former collection or to this one, and never to none.

        Raises `StoreUnavailable` without having done so when `ends_at` (monotonic clock) has passed before Milvus is asked.
        """

        def alter(client: MilvusClient, timeout: float) -> None:
            if time.monotonic() > ends_at:
                raise OSError("too late to switch")
            client.alter_alias(corpus.collection, layout.alias_of(corpus.id), timeout=timeout)

        await self._call("alter_alias", corpus.collection, alter, _SWITCH_SECONDS)
        self._known.pop(corpus.id, None)

    async def drop_index(self, collection: str) -> None:
        """Drops a collection that nothing points to. None of that name is no error."""
        self._indexes.pop(collection, None)

        def remove(client: MilvusClient, timeout: float) -> None:
            if client.has_collection(collection, timeout=timeout):
                client.drop_collection(collection, timeout=timeout)

        await self._call("drop_collection", collection, remove)

    async def drop_unreferenced(self, corpus_id: str) -> None:
        """Drops collections of a corpus that has none but the one its alias points to: leftovers of a process that was killed."""
        current = await self._find(corpus_id)

        def sweep(client: MilvusClient, timeout: float) -> None:
            for name in client.list_collections(timeout=timeout):
                if layout.is_collection_of(name, corpus_id) and (current is None or name != current.collection):
                    client.drop_collection(name, timeout=timeout)

        await self._call("drop_collection", layout.collection_stem(corpus_id), sweep)

    # Writing

    async def upsert(self, corpus: Corpus, chunks: Sequence[Chunk]) -> None:
        """Writes chunks; those of the same id are replaced."""
        for start in range(0, len(chunks), _UPSERT_ROWS):
            await self._upsert(corpus, chunks[start : start + _UPSERT_ROWS])

    async def _upsert(self, corpus: Corpus, chunks: Sequence[Chunk], at_most: float = math.inf) -> None:
        def upsert(client: MilvusClient, timeout: float) -> None:
            # Rows are made here, in the thread: their analysis takes a fraction of a millisecond each.
            client.upsert(corpus.collection, [layout.row_of(chunk, corpus.dimensions) for chunk in chunks], timeout=timeout)

        # A batch of one is no batch, by the conventions.
        size = {"db.operation.batch.size": len(chunks)} if len(chunks) > 1 else {}
        await self._call("upsert", corpus.collection, upsert, at_most, size)

    async def delete_document(self, corpus: Corpus, document_id: str, *, keep_generation: str = "") -> None:
        """Deletes the chunks of a document, or those that are not of one generation."""
        expression = f"document_id in {layout.quoted([document_id])}"
        if keep_generation:
            expression += f" and generation not in {layout.quoted([keep_generation])}"
        await self._call("delete", corpus.collection, lambda client, t: client.delete(corpus.collection, filter=expression, timeout=t))

    async def delete_everywhere(self, corpus_id: str, document_id: str) -> None:
        """Deletes the chunks of a document in every index that there is of its corpus."""
        for index in await self.indexes(corpus_id):
            # One that was dropped at this moment holds nothing any more.
            with suppress(CorpusNotFound):
                await self.delete_document(index, document_id)

    async def regrant(self, corpus: Corpus, document_id: str, access: int, still_held: Callable[[], Awaitable[bool]]) -> bool:
        """Gives all chunks of a document this access, vectors kept. The caller holds the document's lock; `still_held` renews it.

        False when the lock was lost on the way. Whole rows are written: not every Milvus we serve can change a single field.
        """
        expression = f"document_id in {layout.quoted([document_id])} and {layout.ACCESS_FIELD} != {int(access)}"
        while chunks := await self._rows(corpus, expression, [*layout.CHUNK_FIELDS, "vector"], _REGRANT_ROWS):
            if not await still_held():
                return False
            await self._upsert(corpus, [replace(chunk, access=access) for chunk in chunks], _REGRANT_SECONDS)
        return True

    async def regrant_everywhere(self, corpus_id: str, document_id: str, access: int, still_held: Callable[[], Awaitable[bool]]) -> bool:
        """`regrant` in every index that there is of the corpus: one that does not answer now may do so in a moment."""
        for index in await self.indexes(corpus_id):
            # One that was dropped at this moment holds nothing any more.
            with suppress(CorpusNotFound):
                if not await self.regrant(index, document_id, access, still_held):
                    return False
        return True

    async def settle(self, corpus: Corpus) -> None:
        """Asks Milvus to write what it holds in memory to its segments, after a larger change. May be refused, which does no harm."""

        def flush(client: MilvusClient, timeout: float) -> None:
            client.flush(corpus.collection, timeout=timeout)

        try:
            await self._call("flush", corpus.collection, flush)
        except StoreUnavailable:
            # Milvus limits how often a collection may be flushed, and seals segments by itself.
            log.info("flush_refused", collection=corpus.collection)

    # Reading

    async def keyword(self, corpus: Corpus, terms: str, limit: int, expression: str) -> list[StoreHit]:
        """The best chunks by BM25, best first."""
        # Milvus Lite gives BM25 scores as negative distances, Milvus as scores.
        return await self._search(corpus, terms, "bm25", limit, expression, {}, abs)

    async def nearest(self, corpus: Corpus, vector: Vector, limit: int, expression: str) -> list[StoreHit]:
        """The nearest chunks that have a vector, nearest first."""
        if corpus.mode.value == "LAZY":
            expression = f"has_vector == true and ({expression})" if expression else "has_vector == true"
        # Milvus gives squared distances for L2.
        score = (lambda distance: -math.sqrt(max(0.0, distance))) if corpus.metric is Metric.L2 else float
        return await self._search(corpus, vector.tolist(), "vector", limit, expression, {"ef": max(2 * limit, 128)}, score)

    async def fetch(self, corpus: Corpus, ids: Sequence[str], where: str = "", *, with_vectors: bool = False) -> list[Chunk]:
        """Chunks by id, in no particular order; those that do not exist or do not fulfil `where` are left out."""
        fields = [*layout.CHUNK_FIELDS, "vector"] if with_vectors else layout.CHUNK_FIELDS
        found: list[Chunk] = []
        for start in range(0, len(ids), _UPSERT_ROWS):
            named = f"id in {layout.quoted(ids[start : start + _UPSERT_ROWS])}"
            found += await self._rows(corpus, f"{named} and {where}" if where else named, fields, None)
        return found

    async def positions(self, corpus: Corpus, document_id: str, first: int, last: int, where: str) -> list[Chunk]:
        """Chunks of a document at these positions, both ends included, that fulfil `where`; in no particular order."""
        expression = f"document_id in {layout.quoted([document_id])} and position >= {int(first)} and position <= {int(last)} and {where}"
        return await self._rows(corpus, expression, layout.CHUNK_FIELDS, None)

    async def without_vector(self, corpus: Corpus, limit: int) -> list[Chunk]:
        """Some chunks that have no vector."""
        return await self._rows(corpus, "has_vector == false", layout.CHUNK_FIELDS, limit)

    async def count(self, corpus: Corpus, where: str = "") -> tuple[int, int]:
        """How many chunks there are that fulfil `where`, and how many of them have a vector."""
        chunks = await self._count(corpus.collection, where)
        if not chunks or corpus.mode.value != "LAZY":
            return chunks, chunks
        return chunks, await self._count(corpus.collection, f"has_vector == true and {where}" if where else "has_vector == true")

    async def count_of_document(self, corpus_id: str, document_id: str) -> int:
        """How many chunks of a document there are in any collection that is or was the corpus's."""

        def collections(client: MilvusClient, timeout: float) -> list[str]:
            return [name for name in client.list_collections(timeout=timeout) if layout.is_collection_of(name, corpus_id)]

        names = await self._call("list_collections", layout.collection_stem(corpus_id), collections)
        expression = f"document_id in {layout.quoted([document_id])}"
        return sum([await self._count(name, expression) for name in names])

    async def embedded_of(self, corpus: Corpus, document_ids: Sequence[str]) -> dict[str, int]:
        """How many chunks of each document have a vector."""
        expression = f"document_id in {layout.quoted(document_ids)} and has_vector == true"

        def query(client: MilvusClient, timeout: float) -> list[dict[str, Any]]:
            return list(client.query(corpus.collection, filter=expression, output_fields=["document_id"], timeout=timeout))

        counts = dict.fromkeys(document_ids, 0)
        for row in await self._call("query", corpus.collection, query):
            counts[row["document_id"]] += 1
        return counts

    async def close(self) -> None:
        """Closes the connection."""
        if self._client is not None:
            self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _search(  # noqa: PLR0917 each is a different thing
        self,
        corpus: Corpus,
        what: Any,
        field: str,
        limit: int,
        expression: str,
        parameters: dict[str, Any],
        score: Callable[[float], float],
    ) -> list[StoreHit]:
        def search(client: MilvusClient, timeout: float) -> Any:
            return client.search(
                corpus.collection,
                data=[what],
                anns_field=field,
                limit=limit,
                filter=expression,
                search_params={"params": parameters},
                output_fields=["has_vector"],
                consistency_level=self._consistency_level,
                timeout=timeout,
            )

        hits = (await self._call("search", corpus.collection, search, more={"corella.search.field": field}))[0]
        return [StoreHit(hit["id"], score(hit["distance"]), hit["entity"]["has_vector"]) for hit in hits]

    async def _rows(self, corpus: Corpus, expression: str, fields: Sequence[str], limit: int | None) -> list[Chunk]:
        options = {} if limit is None else {"limit": limit}

        def query(client: MilvusClient, timeout: float) -> Any:
            return client.query(
                corpus.collection,
                filter=expression,
                output_fields=list(fields),
                consistency_level=self._consistency_level,
                timeout=timeout,
                **options,
            )

        return [layout.chunk_of(row) for row in await self._call("query", corpus.collection, query)]

    async def _count(self, collection: str, expression: str) -> int:
        def count(client: MilvusClient, timeout: float) -> Any:
            level = self._consistency_level
            return client.query(collection, filter=expression, output_fields=["count(*)"], consistency_level=level, timeout=timeout)

        return int((await self._call("query", collection, count))[0]["count(*)"])

    async def _find(self, corpus_id: str) -> Corpus | None:
        return await self._describe(layout.alias_of(corpus_id))

    async def _describe(self, alias: str) -> Corpus | None:
        def describe(client: MilvusClient, timeout: float) -> Any:
            return client.describe_collection(alias, timeout=timeout)

        try:
            return layout.corpus_of((await self._call("describe_collection", alias, describe))["properties"])
        except CorpusNotFound:
            return None

    async def _call(
        self,
        operation: str,
        collection: str,
        function: Callable[[MilvusClient, float], Any],
        at_most: float = math.inf,
        more: Attributes | None = None,
    ) -> Any:
        """Runs a call of the client in a thread, within the caller's deadline. Loads the collection if Milvus was restarted."""
        timeout = deadline.remaining(min(self._timeout_seconds, at_most))
        with self._spans.call(operation, collection, more):
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, collection, function, timeout)
            except CorpusNotFound:
                # What was remembered of the corpus is out of date: it was deleted, and perhaps made anew.
                self._known = {name: entry for name, entry in self._known.items() if entry[1].collection != collection}
                self._indexes.pop(collection, None)
                raise

    def _run(self, collection: str, function: Callable[[MilvusClient, float], Any], timeout: float) -> Any:
        try:
            client = self._connected(timeout)
            try:
                return function(client, timeout)
            except MilvusException as error:
                if error.code != _NOT_LOADED and "not loaded" not in str(error):
                    raise
                client.load_collection(collection, timeout=timeout)
                return function(client, timeout)
        except MilvusException as error:
            if error.code == ErrorCode.COLLECTION_NOT_FOUND or "can't find collection" in str(error) or "not found" in str(error):
                raise CorpusNotFound(layout.corpus_in(collection)) from error
            raise StoreUnavailable(f"The store of passages (Milvus) did not answer: {error.message}") from error
        except (grpc.RpcError, OSError) as error:
            raise StoreUnavailable("The store of passages (Milvus) cannot be reached.") from error

    def _connected(self, timeout: float) -> MilvusClient:
        with self._connecting:
            if self._client is None:
                self._client = MilvusClient(uri=self._uri, token=self._token, timeout=timeout, grpc_options=_GRPC_OPTIONS)
            return self._client
