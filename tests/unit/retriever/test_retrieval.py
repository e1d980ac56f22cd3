"""How a search is put together, with a store and an embedder made of tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from services.chassis.errors import Unavailable
from services.chassis.identity import Caller
from services.retriever.access import Readable
from services.retriever.domain import (
    CatalogUnavailable,
    Chunk,
    Corpus,
    EmbeddingMode,
    Fusion,
    Metric,
    ModelMismatch,
    Query,
    SearchMode,
    StoreHit,
    Vector,
)
from services.retriever.lazy import nearness, text_of
from services.retriever.retrieval import Retrieval, term_coverage
from services.retriever.settings import SearchSettings

CORPUS = Corpus("books", "", 200, 32, Metric.COSINE, EmbeddingMode.EAGER, "model", 2, 0.0, "collection")
QUERY = Query("books", "warranty of the falcon", 10, SearchMode.HYBRID, None, 0, 0, (), None, rerank=False)
CALLER = Caller("anna", user="anna")
VECTORS = {"a": [1.0, 0.0], "b": [0.6, 0.8], "c": [0.0, 1.0]}


def chunk(name: str, has_vector: bool = True) -> Chunk:
    text = {"a": "The falcon flies.", "b": "The warranty of the falcon lasts.", "c": "Tea and water."}[name]
    return Chunk(
        name, f"document-{name}", "g", f"https://docs.example.com/{name}", "", "", (), text, 0, "section", {}, has_vector, access=0
    )


class Store:
    """Keyword hits b, a; the vectors above."""

    def __init__(self, corpus: Corpus = CORPUS, without_vector: Sequence[str] = ()) -> None:
        self.corpus = corpus
        self.chunks = {name: chunk(name, name not in without_vector) for name in VECTORS}
        self.upserted: list[Chunk] = []
        self.asked: list[str] = []

    async def get(self, corpus_id: str) -> Corpus:
        return self.corpus

    async def keyword(self, corpus: Corpus, terms: str, limit: int, expression: str) -> list[StoreHit]:
        self.asked.append(f"keyword {terms} {limit} {expression}")
        return [StoreHit(name, score, self.chunks[name].has_vector) for name, score in (("b", 4.0), ("a", 1.0))][:limit]

    async def nearest(self, corpus: Corpus, vector: Vector, limit: int, expression: str) -> list[StoreHit]:
        self.asked.append(f"nearest {limit} {expression}")
        found = [name for name, stored in self.chunks.items() if stored.has_vector]
        scores = {name: float(np.dot(vector, VECTORS[name])) for name in found}
        return [StoreHit(name, scores[name], True) for name in sorted(found, key=lambda name: -scores[name])][:limit]

    async def fetch(self, corpus: Corpus, ids: Sequence[str], where: str = "", *, with_vectors: bool = False) -> list[Chunk]:
        self.asked.append(f"fetch {where}")
        return [self.chunks[name] for name in sorted(ids) if name in self.chunks]

    async def upsert(self, corpus: Corpus, chunks: Sequence[Chunk]) -> None:
        self.upserted += chunks


class Embedder:
    """The query points at `a`."""

    def __init__(self, fingerprint: str = "model", seconds: float = 0.0) -> None:
        self.fingerprint = fingerprint
        self.seconds = seconds
        self.queries = 0

    async def embed_query(self, text: str, fingerprint: str = "") -> tuple[Vector, str]:
        self.queries += 1
        return np.array([1.0, 0.0], dtype=np.float32), self.fingerprint

    async def embed_documents(self, texts: Sequence[str], fingerprint: str = "") -> tuple[np.ndarray, str]:
        await asyncio.sleep(self.seconds)
        by_text = {text_of(chunk(name)): vector for name, vector in VECTORS.items()}
        return np.array([by_text[text] for text in texts], dtype=np.float32), self.fingerprint

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return [1.0 if "Tea" in text else 0.1 for text in texts]


class Locks:
    def __init__(self, held: set[str]) -> None:
        self.held = held

    async def renewed(self) -> bool:
        return True


class Locking:
    """Gives every lock, or none, or fails."""

    def __init__(self, gives: bool = True, fails: bool = False) -> None:
        self.gives = gives
        self.fails = fails

    @asynccontextmanager
    async def locked(self, corpus: str, documents: Sequence[str], seconds: float, wait_seconds: float) -> AsyncIterator[Locks]:
        if self.fails:
            raise Unavailable("away")
        yield Locks(set(documents) if self.gives else set())


class Readers:
    """Admits the caller to everyone's documents and to those of one list."""

    def __init__(self, away: bool = False) -> None:
        self.away = away

    async def readable(self, corpus_id: str, caller: Caller) -> Readable:
        if self.away:
            raise CatalogUnavailable("away")
        return Readable(frozenset({0, 7}))


def retrieval(store: Store, embedder: Embedder | None = None, locking: Locking | None = None, readers: Readers | None = None) -> Retrieval:
    return Retrieval(store, embedder or Embedder(), locking or Locking(), readers or Readers(), SearchSettings())


async def test_hybrid_asks_both_lists_and_says_where_each_hit_came_from() -> None:
    store = Store()
    found = await retrieval(store).search(QUERY, CALLER)
    ranks = {p.chunk.id: (p.keyword_rank, p.vector_rank) for p in found.passages}
    assert ranks == {"a": (2, 1), "b": (1, 2), "c": (None, 3)}
    assert found.fusion is Fusion.WEIGHTED
    assert found.evidence.overlap_count == 2
    assert found.evidence.top_vector_score == pytest.approx(1.0)
    assert sorted(store.asked) == [
        "fetch access in [0, 7]",
        "keyword warranti falcon 100 (access in [0, 7])",
        "nearest 100 (access in [0, 7])",
    ]


async def test_keyword_mode_never_calls_the_embedder() -> None:
    embedder = Embedder()
    found = await retrieval(Store(), embedder).search(replace(QUERY, mode=SearchMode.KEYWORD), CALLER)
    assert [p.chunk.id for p in found.passages] == ["b", "a"]
    assert embedder.queries == 0
    assert found.fusion is None
    assert found.evidence.top_vector_score is None


async def test_a_question_without_terms_asks_the_vector_list_only() -> None:
    store = Store()
    found = await retrieval(store).search(replace(QUERY, text="?!"), CALLER)
    assert [asked.split()[0] for asked in store.asked] == ["nearest", "fetch"]
    assert len(found.passages) == 3


@pytest.mark.parametrize("mode", [EmbeddingMode.EAGER, EmbeddingMode.LAZY])
async def test_vectors_of_another_model_are_refused(mode: EmbeddingMode) -> None:
    with pytest.raises(ModelMismatch) as error:
        await retrieval(Store(replace(CORPUS, mode=mode)), Embedder("other")).search(QUERY, CALLER)
    assert error.value.reason == "EMBEDDING_MODEL_MISMATCH"


async def test_a_failure_of_one_list_fails_the_search_with_its_own_words() -> None:
    class Broken(Store):
        async def keyword(self, corpus: Corpus, terms: str, limit: int, expression: str) -> list[StoreHit]:
            raise Unavailable("the store is away")

    with pytest.raises(Unavailable, match="the store is away"):
        await retrieval(Broken()).search(QUERY, CALLER)


async def test_hits_without_a_vector_are_embedded_scored_and_kept() -> None:
    store = Store(replace(CORPUS, mode=EmbeddingMode.LAZY), without_vector=["a", "b", "c"])
    searching = retrieval(store)
    found = await searching.search(QUERY, CALLER)
    await searching.close()
    assert {p.chunk.id: p.vector_rank for p in found.passages} == {"a": 1, "b": 2}
    assert all(p.embedded_now for p in found.passages)
    assert {written.id: list(written.vector) for written in store.upserted if written.vector is not None} == {
        "a": pytest.approx(VECTORS["a"]),
        "b": pytest.approx(VECTORS["b"]),
    }
    assert "embed_hits" in found.seconds


async def test_vector_mode_of_a_lazy_corpus_embeds_keyword_hits_and_lists_vectors_only() -> None:
    store = Store(replace(CORPUS, mode=EmbeddingMode.LAZY), without_vector=["a", "b", "c"])
    found = await retrieval(store).search(replace(QUERY, mode=SearchMode.VECTOR), CALLER)
    assert [p.chunk.id for p in found.passages] == ["a", "b"]
    assert all(p.keyword_rank is None for p in found.passages)


@pytest.mark.parametrize("locking", [Locking(gives=False), Locking(fails=True)])
async def test_without_the_lock_of_its_document_a_vector_is_used_and_not_written(locking: Locking) -> None:
    store = Store(replace(CORPUS, mode=EmbeddingMode.LAZY), without_vector=["a"])
    searching = retrieval(store, locking=locking)
    found = await searching.search(QUERY, CALLER)
    await searching.close()
    assert found.passages[0].vector_rank is not None
    assert store.upserted == []


async def test_a_chunk_deleted_while_it_was_embedded_does_not_come_back() -> None:
    store = Store(replace(CORPUS, mode=EmbeddingMode.LAZY), without_vector=["a"])

    class Deleting(Embedder):
        async def embed_documents(self, texts: Sequence[str], fingerprint: str = "") -> tuple[np.ndarray, str]:
            vectors = await super().embed_documents(texts)
            del store.chunks["a"]
            return vectors

    searching = retrieval(store, Deleting())
    found = await searching.search(QUERY, CALLER)
    await searching.close()
    assert store.upserted == []
    assert "a" not in {p.chunk.id for p in found.passages}


async def test_embedding_hits_stops_when_its_time_is_over() -> None:
    store = Store(replace(CORPUS, mode=EmbeddingMode.LAZY), without_vector=["a", "b"])
    settings = SearchSettings(lazy_max_seconds=0.05)
    searching = Retrieval(store, Embedder(seconds=5.0), Locking(), Readers(), settings)
    found = await asyncio.wait_for(searching.search(QUERY, CALLER), 1.0)
    assert [p.vector_rank for p in found.passages if p.chunk.id in ("a", "b")] == [None, None]


async def test_reranking_orders_anew_and_keeps_the_fused_score() -> None:
    found = await retrieval(Store()).search(replace(QUERY, rerank=True, limit=2), CALLER)
    assert found.passages[0].chunk.id == "c"
    assert (found.passages[0].score, found.passages[0].rerank_score) == (1.0, 1.0)
    assert found.passages[0].fused_score < 1.0
    assert len(found.passages) == 2


async def test_the_limit_is_kept_when_a_chunk_vanishes_between_search_and_fetch() -> None:
    store = Store()
    del store.chunks["a"]
    store.chunks = {name: store.chunks[name] for name in ("b", "c")}

    class Stale(Store):
        async def nearest(self, corpus: Corpus, vector: Vector, limit: int, expression: str) -> list[StoreHit]:
            return [StoreHit("a", 1.0, True), StoreHit("b", 0.6, True), StoreHit("c", 0.0, True)]

        async def keyword(self, corpus: Corpus, terms: str, limit: int, expression: str) -> list[StoreHit]:
            return []

    stale = Stale()
    stale.chunks = store.chunks
    found = await retrieval(stale).search(replace(QUERY, limit=2), CALLER)
    assert [p.chunk.id for p in found.passages] == ["b", "c"]


def test_coverage_counts_distinct_terms_of_text_title_and_headings() -> None:
    covered = replace(chunk("b"), title="Falcon", heading_path=("Service",))
    assert term_coverage("warranti falcon servic moon", covered) == pytest.approx(0.75)
    assert term_coverage("", covered) == 0.0


@pytest.mark.parametrize(
    ("metric", "expected"),
    [(Metric.COSINE, [1.0, 0.0, -1.0]), (Metric.INNER_PRODUCT, [4.0, 0.0, -2.0]), (Metric.L2, [0.0, -(8**0.5), -3.0])],
)
def test_nearness_is_what_the_store_would_give(metric: Metric, expected: list[float]) -> None:
    vectors = np.array([[2.0, 0.0], [0.0, 2.0], [-1.0, 0.0]], dtype=np.float32)
    assert nearness(metric, np.array([2.0, 0.0], dtype=np.float32), vectors) == pytest.approx(expected)


async def test_nothing_is_asked_of_the_store_when_it_is_not_known_what_the_caller_may_read() -> None:
    store = Store()
    with pytest.raises(CatalogUnavailable):
        await retrieval(store, readers=Readers(away=True)).search(QUERY, CALLER)
    assert store.asked == []


async def test_a_chunk_taken_from_the_caller_between_search_and_fetch_is_not_returned() -> None:
    store = Store()
    store.chunks["b"] = replace(store.chunks["b"], access=8)
    store.chunks["a"] = replace(store.chunks["a"], access=-1)
    assert [passage.chunk.id for passage in (await retrieval(store).search(QUERY, CALLER)).passages] == ["c"]
