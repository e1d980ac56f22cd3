"""The nearest chunks of those that a caller may read are found however few these are, on a real Milvus Lite server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from retriever_in_process import Servers, servers

from services.retriever.domain import Chunk, Corpus, EmbeddingMode, Metric
from services.retriever.milvus_schema import collection_of
from services.retriever.milvus_store import MilvusStore
from services.retriever.names import fresh_id

CHUNKS, DIMENSIONS, LIMIT = 4_000, 32, 50
SHARES = {1: 0.005, 2: 0.02, 3: 0.12, 4: 0.5, 5: 0.355}
"""Share of the chunks by access; together they are all."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("nearest")) as at:
        yield at


@pytest.fixture
async def store(running: Servers) -> AsyncIterator[MilvusStore]:
    made = MilvusStore(running.milvus_uri, None, 60.0)
    yield made
    await made.close()


def clustered(seed: int) -> np.ndarray:
    """Vectors as texts have them: in clusters, so that neighbours of a question are neighbours of each other."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((60, DIMENSIONS))
    return (centres[random.integers(0, 60, CHUNKS)] + 0.5 * random.standard_normal((CHUNKS, DIMENSIONS))).astype(np.float32)


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.INNER_PRODUCT, Metric.L2])
async def test_a_caller_who_may_read_little_finds_the_nearest_of_it(store: MilvusStore, metric: Metric) -> None:
    name = f"nearest-{metric.name.lower().replace('_', '-')}"
    corpus = Corpus(name, "", 200, 0, metric, EmbeddingMode.EAGER, "m", DIMENSIONS, 0.0, collection_of(name, "m", fresh_id()))
    await store.create(corpus)
    vectors = clustered(7)
    accesses = np.random.default_rng(9).choice(list(SHARES), CHUNKS, p=list(SHARES.values()))
    chunks = [
        Chunk(f"{n:032x}", f"{n // 4:032x}", "g", "", "", "", (), "word", n % 4, "", {}, True, vectors[n], int(accesses[n]))
        for n in range(CHUNKS)
    ]
    await store.upsert(corpus, chunks)
    await store.settle(corpus)
    for question in clustered(8)[:10]:
        for admitted in ([1], [2], [3], [4], [1, 2, 3, 4, 5]):
            hits = await store.nearest(corpus, question, LIMIT, f"access in {admitted}")
            there = np.flatnonzero(np.isin(accesses, admitted))
            expected = there[np.argsort(-nearness(metric, question, vectors[there]))[:LIMIT]]
            assert len(hits) == min(LIMIT, len(there))
            found = {int(hit.id, 16) for hit in hits}
            assert found <= set(there)
            assert len(found & set(expected)) >= 0.95 * len(expected)
            scores = nearness(metric, question, vectors[[int(hit.id, 16) for hit in hits]])
            assert np.allclose([hit.score for hit in hits], scores, atol=1e-3)
    await store.drop(corpus.id)


def nearness(metric: Metric, question: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Higher is nearer, as the store says it."""
    if metric is Metric.L2:
        return -np.linalg.norm(vectors - question, axis=1)
    products = vectors @ question
    return products if metric is Metric.INNER_PRODUCT else products / np.linalg.norm(vectors, axis=1) / np.linalg.norm(question)
