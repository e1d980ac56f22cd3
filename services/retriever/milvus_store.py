"""Chunks and vectors in Milvus.

The synchronous client runs in threads: pymilvus's asynchronous one asks Milvus for timestamps in a way that Milvus Lite does not
know. One client for the life of the process, made when it is first needed.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.trace import SpanKind
from pymilvus import MilvusClient
from pymilvus.exceptions import ErrorCode, MilvusException

from services.chassis import deadline
from services.chassis.telemetry import get_logger, tracer
from services.retriever import milvus_schema as layout
from services.retriever.domain import Chunk, Corpus, CorpusExists, CorpusNotFound, Metric, StoreHit, StoreUnavailable, Vector

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


class MilvusStore:
    """Every corpus is a collection behind an alias."""

    def __init__(
        self, uri: str, token_file: Path | None, timeout_seconds: float, consistency_level: str = "Strong", cache_seconds: float = 2.0
    ) -> None:
        self._uri = uri
        self._token = token_file.read_text().strip() if token_file else ""
        self._timeout_seconds = timeout_seconds
        self._consistency_level = consistency_level
        self._cache_seconds = cache_seconds
        self._known: dict[str, tuple[float, Corpus]] = {}
        self._client: MilvusClient | None = None
        self._connecting = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="milvus")

    # Corpora

    async def create(self, corpus: Corpus) -> None:
        """Makes an empty corpus. Raises `CorpusExists`."""
        alias = layout.alias_of(corpus.id)
        if await self._find(corpus.id) is not None:
            raise CorpusExists(corpus.id)

        def make(client: MilvusClient, timeout: float) -> None:
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
            client.create_alias(corpus.collection, alias, timeout=timeout)

        await self._call("create_collection", corpus.collection, make)

    async def get(self, corpus_id: str) -> Corpus:
        """The corpus, as it was known a moment ago at most. Raises `CorpusNotFound`."""
        at, corpus = self._known.get(corpus_id, (0.0, None))
        if corpus is None or time.monotonic() - at > self._cache_seconds:
            corpus = await self._find(corpus_id)
            if corpus is None:
                self._known.pop(corpus_id, None)
                raise CorpusNotFound(corpus_id)
            self._known[corpus_id] = (time.monotonic(), corpus)
        return corpus

    async def list_corpora(self) -> list[Corpus]:
        """All corpora by id."""

        def aliases(client: MilvusClient, timeout: float) -> list[str]:
            return [name for name in client.list_aliases(timeout=timeout)["aliases"] if name.startswith(layout.ALIAS_PREFIX)]

        names = await self._call("list_aliases", "", aliases)
        found = await asyncio.gather(*(self._describe(name) for name in names))
        return sorted((corpus for corpus in found if corpus is not None), key=lambda corpus: corpus.id)

    async def drop(self, corpus_id: str) -> None:
        """Deletes a corpus with everything in it; what an interrupted creation or deletion left behind as well."""
        corpus = await self._find(corpus_id)
        self._known.pop(corpus_id, None)
        if corpus is None:
            return

        def remove(client: MilvusClient, timeout: float) -> None:
            client.drop_alias(layout.alias_of(corpus_id), timeout=timeout)
            client.drop_collection(corpus.collection, timeout=timeout)

        await self._call("drop_collection", corpus.collection, remove)

    async def drop_unreferenced(self, corpus_id: str) -> None:
        """Drops collections of a corpus that no alias points to: leftovers of a process that was killed."""
        current = await self._find(corpus_id)
        stem = layout.collection_of(corpus_id, "", "").removesuffix("_").rpartition("_")[0] + "_"

        def sweep(client: MilvusClient, timeout: float) -> None:
            for name in client.list_collections(timeout=timeout):
                tail = name.removeprefix(stem)
                if name.startswith(stem) and len(tail) == 17 and (current is None or name != current.collection):
                    client.drop_collection(name, timeout=timeout)

        await self._call("drop_collection", stem, sweep)

    # Writing

    async def upsert(self, corpus: Corpus, chunks: Sequence[Chunk]) -> None:
        """Writes chunks; those of the same id are replaced."""
        for start in range(0, len(chunks), _UPSERT_ROWS):
            await self._upsert(corpus, chunks[start : start + _UPSERT_ROWS])

    async def _upsert(self, corpus: Corpus, chunks: Sequence[Chunk]) -> None:
        def upsert(client: MilvusClient, timeout: float) -> None:
            # Rows are made here, in the thread: their analysis takes a fraction of a millisecond each.
            client.upsert(corpus.collection, [layout.row_of(chunk, corpus.dimensions) for chunk in chunks], timeout=timeout)

        await self._call("upsert", corpus.collection, upsert)

    async def delete_document(self, corpus: Corpus, document_id: str, *, keep_generation: str = "") -> None:
        """Deletes the chunks of a document, or those that are not of one generation."""
        expression = f"document_id in {layout.quoted([document_id])}"
        if keep_generation:
            expression += f" and generation not in {layout.quoted([keep_generation])}"
        await self._call("delete", corpus.collection, lambda client, t: client.delete(corpus.collection, filter=expression, timeout=t))

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

    async def fetch(self, corpus: Corpus, ids: Sequence[str], *, with_vectors: bool = False) -> list[Chunk]:
        """Chunks by id, in no particular order; those that do not exist are left out."""
        fields = [*layout.CHUNK_FIELDS, "vector"] if with_vectors else layout.CHUNK_FIELDS
        found: list[Chunk] = []
        for start in range(0, len(ids), _UPSERT_ROWS):
            found += await self._rows(corpus, f"id in {layout.quoted(ids[start : start + _UPSERT_ROWS])}", fields, None)
        return found

    async def positions(self, corpus: Corpus, document_id: str, first: int, last: int) -> list[Chunk]:
        """Chunks of a document at these positions, both ends included, in no particular order."""
        expression = f"document_id in {layout.quoted([document_id])} and position >= {int(first)} and position <= {int(last)}"
        return await self._rows(corpus, expression, layout.CHUNK_FIELDS, None)

    async def without_vector(self, corpus: Corpus, limit: int) -> list[Chunk]:
        """Some chunks that have no vector."""
        return await self._rows(corpus, "has_vector == false", layout.CHUNK_FIELDS, limit)

    async def count(self, corpus: Corpus) -> tuple[int, int]:
        """How many chunks there are, and how many of them have a vector."""
        chunks = await self._count(corpus, "")
        return chunks, await self._count(corpus, "has_vector == true") if chunks and corpus.mode.value == "LAZY" else chunks

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

        hits = (await self._call("search", corpus.collection, search))[0]
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

    async def _count(self, corpus: Corpus, expression: str) -> int:
        def count(client: MilvusClient, timeout: float) -> Any:
            return client.query(corpus.collection, filter=expression, output_fields=["count(*)"], timeout=timeout)

        return int((await self._call("query", corpus.collection, count))[0]["count(*)"])

    async def _find(self, corpus_id: str) -> Corpus | None:
        return await self._describe(layout.alias_of(corpus_id))

    async def _describe(self, alias: str) -> Corpus | None:
        def describe(client: MilvusClient, timeout: float) -> Any:
            return client.describe_collection(alias, timeout=timeout)

        try:
            return layout.corpus_of((await self._call("describe_collection", alias, describe))["properties"])
        except CorpusNotFound:
            return None

    async def _call(self, operation: str, collection: str, function: Callable[[MilvusClient, float], Any]) -> Any:
        """Runs a call of the client in a thread, within the caller's deadline. Loads the collection if Milvus was restarted."""
        timeout = deadline.remaining(self._timeout_seconds)
        attributes = {"db.system.name": "milvus", "db.operation.name": operation, "db.collection.name": collection}
        with tracer.start_as_current_span(f"{operation} {collection}".strip(), kind=SpanKind.CLIENT, attributes=attributes):
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, collection, function, timeout)
            except CorpusNotFound:
                # What was remembered of the corpus is out of date: it was deleted, and perhaps made anew.
                self._known = {name: entry for name, entry in self._known.items() if entry[1].collection != collection}
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
                raise CorpusNotFound(_corpus_in(collection)) from error
            raise StoreUnavailable(f"The store of passages (Milvus) did not answer: {error.message}") from error
        except (grpc.RpcError, OSError) as error:
            raise StoreUnavailable("The store of passages (Milvus) cannot be reached.") from error

    def _connected(self, timeout: float) -> MilvusClient:
        with self._connecting:
            if self._client is None:
                self._client = MilvusClient(uri=self._uri, token=self._token, timeout=timeout, grpc_options=_GRPC_OPTIONS)
            return self._client


def _corpus_in(collection: str) -> str:
    name = collection.removeprefix(layout.ALIAS_PREFIX).replace("_", "-")
    return name if collection.startswith(layout.ALIAS_PREFIX) else name.removeprefix("corella-c-").rpartition("-")[0].rpartition("-")[0]
