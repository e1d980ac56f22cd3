"""Finds passages: the steps A-b to A-f of a question.

keyword list ──────────────┐
question's vector ─────────┼─ (lazy corpora: vectors for keyword hits that have none) ─ vector list ─ fuse ─ rerank ─ fetch
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from services.chassis import deadline
from services.chassis.errors import CorellaError
from services.chassis.identity import Caller
from services.chassis.steps import detail, step
from services.chassis.telemetry import get_logger, text_attribute
from services.retriever import fusion
from services.retriever.access import Readable
from services.retriever.analysis import analyse
from services.retriever.cache_metrics import LAZY_VECTORS, looked_up
from services.retriever.domain import (
    Chunk,
    Corpus,
    CorpusNotFound,
    EmbeddingMode,
    Evidence,
    Found,
    Fusion,
    Metric,
    ModelMismatch,
    Passage,
    Query,
    SearchMode,
    StoreHit,
    Vector,
)
from services.retriever.filters import all_of, expression
from services.retriever.lazy import embed_hits, nearness, write_back
from services.retriever.ports import Embedder, Locking, Passages, Readers
from services.retriever.search_metrics import measure
from services.retriever.settings import SearchSettings

log = get_logger(__name__)

_A = TypeVar("_A")
_B = TypeVar("_B")

DEFAULT_FUSION = Fusion.WEIGHTED
"""Measured: docs/decisions/0005-fusion-default.md."""
_EVIDENCE_DEPTH = 10
_SPARE = 5
"""Fetched beyond the limit, for chunks deleted between search and fetch."""
# The lowest nearness there can be between vectors of length 1; fusion maps it to 0.
_FLOORS = {Metric.COSINE: -1.0, Metric.INNER_PRODUCT: -1.0, Metric.L2: -2.0}


class Retrieval:
    """Searches a corpus, among what the caller may read.

    For callers whom access lists bind the catalog must be up; for others it is needed for nothing but to write back the vectors of lazy
    corpora.
    """

    def __init__(self, passages: Passages, embedder: Embedder, locking: Locking, readers: Readers, settings: SearchSettings) -> None:
        self._passages = passages
        self._embedder = embedder
        self._locking = locking
        self._readers = readers
        self._settings = settings
        self._writing: set[asyncio.Task[None]] = set()

    async def search(self, query: Query, caller: Caller) -> Found:
        """The passages that answer best. Raises `CorpusNotFound`, `ModelMismatch`, and what store, catalog and embedder raise."""
        try:
            return await self._search(query, caller)
        except CorpusNotFound:
            # It may have been made anew a moment ago; what is remembered of it is then looked up again.
            return await self._search(query, caller)

    async def _search(self, query: Query, caller: Caller) -> Found:
        attributes = {
            "corella.search.mode": query.mode.value,
            "corella.search.limit": query.limit,
            "corella.search.query": text_attribute(query.text),
        }
        with detail("search", attributes) as span:
            found = await self._find(query, caller)
            span.set_attributes(measure(found))
        return found

    async def _find(self, query: Query, caller: Caller) -> Found:
        clock = _Clock()
        with clock.timed("total"):
            corpus, readable = await _both(self._passages.get(query.corpus), self._readers.readable(query.corpus, caller))
            where = all_of(readable.expression, expression(query.conditions))
            terms = analyse(query.text)
            keyword, (vectors, embedded_now) = await self._lists(corpus, query, terms, where, clock)
            fused = self._fuse(corpus, query, keyword, vectors)
            passages = await self._passages_of(corpus, query, fused, readable, clock)
            passages = [replace(passage, embedded_now=passage.chunk.id in embedded_now) for passage in passages]
            evidence = self._evidence(terms, vectors, fused, passages)
        return Found(
            corpus=corpus,
            passages=tuple(passages[: query.limit]),
            mode=query.mode,
            fusion=(query.fusion or DEFAULT_FUSION) if query.mode is SearchMode.HYBRID else None,
            evidence=evidence,
            seconds=clock.seconds,
        )

    async def close(self) -> None:
        """Waits for vectors that are being written back."""
        if self._writing:
            await asyncio.wait(self._writing, timeout=5.0)

    async def _lists(
        self, corpus: Corpus, query: Query, terms: str, where: str, clock: _Clock
    ) -> tuple[list[StoreHit], tuple[list[StoreHit], frozenset[str]]]:
        keyword_limit = query.keyword_limit or self._settings.keyword_limit
        if query.mode is SearchMode.KEYWORD:
            return await self._keyword(corpus, terms, keyword_limit, where, clock), ([], frozenset())
        lazy = corpus.mode is EmbeddingMode.LAZY
        if query.mode is SearchMode.VECTOR and not lazy:
            return [], await self._vector(corpus, query, [], where, clock)
        if not lazy:
            # Neither list needs the other.
            keyword, vector = await _both(
                self._keyword(corpus, terms, keyword_limit, where, clock), self._vector(corpus, query, [], where, clock)
            )
            return keyword, vector
        keyword, vector_of_query = await _both(
            self._keyword(corpus, terms, keyword_limit, where, clock), self._embed_query(corpus, query.text, clock)
        )
        found = await self._vector(corpus, query, keyword, where, clock, vector_of_query)
        return (keyword if query.mode is SearchMode.HYBRID else []), found

    async def _keyword(self, corpus: Corpus, terms: str, limit: int, where: str, clock: _Clock) -> list[StoreHit]:
        if not terms:
            return []
        with clock.timed("keyword"):
            return await self._passages.keyword(corpus, terms, limit, where)

    async def _embed_query(self, corpus: Corpus, text: str, clock: _Clock) -> Vector:
        with clock.timed("embed_query"), detail("embed question", {}):
            vector, fingerprint = await self._embedder.embed_query(text, corpus.fingerprint)
        if fingerprint != corpus.fingerprint:
            raise ModelMismatch(corpus, fingerprint)
        return vector

    async def _vector(  # noqa: PLR0917 each is a different thing
        self, corpus: Corpus, query: Query, keyword: Sequence[StoreHit], where: str, clock: _Clock, vector: Vector | None = None
    ) -> tuple[list[StoreHit], frozenset[str]]:
        """The vector list, and the ids of chunks that got their vector just now."""
        limit = query.vector_limit or self._settings.vector_limit
        if vector is None:
            vector = await self._embed_query(corpus, query.text, clock)
        embedded: list[Chunk] = []
        missing = [hit.id for hit in keyword if not hit.has_vector]
        if corpus.mode is EmbeddingMode.LAZY:
            looked_up(LAZY_VECTORS, hits=len(keyword) - len(missing), misses=len(missing))
        if missing:
            with clock.timed("embed_hits"), step("embed hits", {"corella.chunks": len(missing)}):
                left = deadline.remaining(self._settings.lazy_max_seconds / self._settings.lazy_time_share)
                embedded = await embed_hits(self._passages, self._embedder, corpus, missing, where, left * self._settings.lazy_time_share)
                self._write_back(corpus, embedded)
        with clock.timed("vector"):
            hits = await self._passages.nearest(corpus, vector, limit, where)
        if embedded:
            hits = _with_embedded(corpus.metric, vector, hits, embedded)[:limit]
        return hits, frozenset(chunk.id for chunk in embedded)

    def _write_back(self, corpus: Corpus, embedded: Sequence[Chunk]) -> None:
        """Adds the vectors to the store beside the answer: the hits are scored here, so the answer need not wait for the index."""

        async def write() -> None:
            try:
                await write_back(self._passages, self._locking, corpus, embedded)
            except CorellaError as error:
                # They are computed again when they are hit again, or by the warming in the background.
                log.warning("vectors_not_kept", corpus=corpus.id, reason=error.reason)

        if embedded:
            task = asyncio.create_task(write())
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    def _fuse(self, corpus: Corpus, query: Query, keyword: Sequence[StoreHit], vectors: Sequence[StoreHit]) -> list[fusion.FusedHit]:
        from_keyword = [fusion.Hit(hit.id, hit.score) for hit in keyword]
        from_vectors = [fusion.Hit(hit.id, hit.score) for hit in vectors]
        if query.mode is SearchMode.KEYWORD:
            return fusion.keyword_only(from_keyword)
        if query.mode is SearchMode.VECTOR:
            return fusion.vector_only(from_vectors)
        if query.fusion is Fusion.RECIPROCAL_RANK:
            return fusion.reciprocal_rank(from_keyword, from_vectors)
        method = fusion.overlap if query.fusion is Fusion.OVERLAP else fusion.weighted
        weight = fusion.VECTOR_WEIGHT if query.vector_weight is None else query.vector_weight
        return method(from_keyword, from_vectors, vector_weight=weight, vector_floor=_FLOORS[corpus.metric])

    async def _passages_of(
        self, corpus: Corpus, query: Query, fused: Sequence[fusion.FusedHit], readable: Readable, clock: _Clock
    ) -> list[Passage]:
        count = max(query.limit, self._settings.rerank_candidates) if query.rerank else query.limit + _SPARE
        chosen = fused[:count]
        if not chosen:
            return []
        # Asked again of the chunks themselves: they may have been taken from the caller since the lists were made.
        found = await self._passages.fetch(corpus, [hit.id for hit in chosen], readable.expression)
        chunks = {chunk.id: chunk for chunk in found if readable.admits(chunk.access)}
        passages = [
            Passage(
                chunk=chunks[hit.id],
                score=hit.fused_score,
                fused_score=hit.fused_score,
                keyword_rank=hit.keyword_rank,
                keyword_score=hit.keyword_score,
                vector_rank=hit.vector_rank,
                vector_score=hit.vector_score,
            )
            for hit in chosen
            if hit.id in chunks
        ]
        if query.rerank and passages:
            with clock.timed("rerank"), step("rerank", {"corella.passages": len(passages)}):
                scores = await self._embedder.rerank(query.text, [passage.chunk.text for passage in passages])
            scored = [replace(p, score=score, rerank_score=score) for p, score in zip(passages, scores, strict=True)]
            passages = sorted(scored, key=lambda passage: -passage.score)
        return passages[: query.limit]

    @staticmethod
    def _evidence(terms: str, vectors: Sequence[StoreHit], fused: Sequence[fusion.FusedHit], passages: Sequence[Passage]) -> Evidence:
        return Evidence(
            top_vector_score=max((hit.score for hit in vectors), default=None),
            top_term_coverage=term_coverage(terms, passages[0].chunk) if passages else 0.0,
            overlap_count=sum(hit.in_both for hit in fused[:_EVIDENCE_DEPTH]),
        )


def term_coverage(terms: str, chunk: Chunk) -> float:
    """Share of the distinct query terms that occur in the chunk, its title and its headings, 0…1. Stop words are no terms."""
    wanted = set(terms.split())
    if not wanted:
        return 0.0
    there = set(analyse("\n".join((chunk.title, *chunk.heading_path, chunk.text))).split())
    return len(wanted & there) / len(wanted)


def _with_embedded(metric: Metric, query: Vector, hits: Sequence[StoreHit], embedded: Sequence[Chunk]) -> list[StoreHit]:
    vectors = np.stack([chunk.vector for chunk in embedded if chunk.vector is not None])
    new = [StoreHit(chunk.id, float(score), True) for chunk, score in zip(embedded, nearness(metric, query, vectors), strict=True)]
    known = {hit.id for hit in new}
    return sorted([*new, *(hit for hit in hits if hit.id not in known)], key=lambda hit: -hit.score)


class _Clock:
    """Where the time went."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


async def _both(first: Coroutine[Any, Any, _A], second: Coroutine[Any, Any, _B]) -> tuple[_A, _B]:
    """Both at the same time; when one fails the other is cancelled and the failure raised."""
    try:
        async with asyncio.TaskGroup() as group:
            one, two = group.create_task(first), group.create_task(second)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return one.result(), two.result()
