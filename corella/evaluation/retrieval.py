"""Measures search: ingests test sets into corpora of their own and compares modes and fusions on them.

A document counts as found at the rank of its best passage. nDCG@10 and recall@10 come from ir-measures; the interval of a difference is a
paired bootstrap over queries (Efron and Tibshirani, 1993), because on a few dozen queries a difference of some points is noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import grpc
import ir_measures
import numpy as np
from ir_measures import R, nDCG

from corella.evaluation.beir import TestSet
from corella.evaluation.questions import QuestionSet
from corella.v1 import operation_pb2, retriever_pb2

NDCG, RECALL = nDCG @ 10, R @ 10
_URI_PREFIX = "https://test-set.invalid/"
_DEPTH = 100
_SEARCHES_AT_ONCE = 4


@dataclass(frozen=True)
class Method:
    """A way to search that is compared."""

    name: str
    mode: retriever_pb2.SearchMode
    fusion: retriever_pb2.Fusion = retriever_pb2.FUSION_UNSPECIFIED


METHODS = (
    Method("keyword", retriever_pb2.SEARCH_MODE_KEYWORD),
    Method("vector", retriever_pb2.SEARCH_MODE_VECTOR),
    Method("overlap", retriever_pb2.SEARCH_MODE_HYBRID, retriever_pb2.FUSION_OVERLAP),
    Method("reciprocal rank", retriever_pb2.SEARCH_MODE_HYBRID, retriever_pb2.FUSION_RECIPROCAL_RANK),
    Method("weighted", retriever_pb2.SEARCH_MODE_HYBRID, retriever_pb2.FUSION_WEIGHTED),
    Method("default", retriever_pb2.SEARCH_MODE_UNSPECIFIED),
)


@dataclass(frozen=True)
class Score:
    """What one method reached on one set."""

    test_set: str
    method: str
    ndcg: float
    recall: float
    median_milliseconds: float
    ndcg_by_query: dict[str, float]


def ingest(
    stub: Any, test_set: TestSet | QuestionSet, corpus: str, progress: Callable[[operation_pb2.Operation], None]
) -> operation_pb2.Operation:
    """Puts a set's documents into the corpus `corpora/{corpus}`, making it if needed, and waits until all are dealt with."""
    try:
        stub.CreateCorpus(retriever_pb2.CreateCorpusRequest(corpus_id=corpus, corpus=retriever_pb2.Corpus(display_name=test_set.name)))
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
            raise
    operation = stub.IngestDocuments(_parts(test_set, f"corpora/{corpus}"), timeout=600).operation
    while True:
        asked = retriever_pb2.WaitOperationRequest(name=operation.name, until_done_count_exceeds=operation.done_count)
        asked.timeout.FromSeconds(10)
        operation = stub.WaitOperation(asked, timeout=30).operation
        progress(operation)
        if operation.state >= operation_pb2.OPERATION_STATE_SUCCEEDED:
            return operation


def measure(stub: Any, test_set: TestSet, corpus: str, method: Method, progress: Callable[[], None]) -> Score:
    """Asks every query of the set in one way and scores the answers."""
    run: dict[str, dict[str, float]] = {}
    milliseconds: list[float] = []

    def ask(query_id: str, text: str) -> tuple[str, retriever_pb2.SearchResponse]:
        request = retriever_pb2.SearchRequest(
            corpus=f"corpora/{corpus}", query=text[:4000], limit=_DEPTH, mode=method.mode, fusion=method.fusion
        )
        return query_id, stub.Search(request, timeout=60)

    with ThreadPoolExecutor(_SEARCHES_AT_ONCE) as pool:
        for query_id, response in pool.map(lambda query: ask(query.id, query.text), test_set.queries):
            found: dict[str, float] = {}
            for rank, passage in enumerate(response.passages):
                # Ranks, not scores: scores of different methods are not on one scale, and ties would be broken at random.
                found.setdefault(document_id(passage.uri), float(_DEPTH - rank))
            run[query_id] = found
            milliseconds.append(response.timings.total.ToTimedelta().total_seconds() * 1000)
            progress()
    return _score(test_set, method.name, run, float(np.median(milliseconds)) if milliseconds else 0.0)


def _score(test_set: TestSet, method: str, run: dict[str, dict[str, float]], median_milliseconds: float) -> Score:
    by_query = {m.query_id: m.value for m in ir_measures.iter_calc([NDCG], test_set.judgements, run)}
    by_query = {query.id: by_query.get(query.id, 0.0) for query in test_set.queries}
    recalls = {m.query_id: m.value for m in ir_measures.iter_calc([RECALL], test_set.judgements, run)}
    recall = sum(recalls.get(query.id, 0.0) for query in test_set.queries) / max(1, len(test_set.queries))
    return Score(test_set.name, method, float(np.mean(list(by_query.values()))), recall, median_milliseconds, by_query)


def difference(candidate: Score, other: Score, *, samples: int = 10_000, seed: int = 13) -> tuple[float, float, float]:
    """nDCG@10 of candidate less other, and the ends of its 95 % interval (paired bootstrap over queries)."""
    deltas = np.array([candidate.ndcg_by_query[query] - other.ndcg_by_query[query] for query in candidate.ndcg_by_query])
    if not len(deltas):
        return 0.0, 0.0, 0.0
    picks = np.random.default_rng(seed).integers(0, len(deltas), (samples, len(deltas)))
    low, high = np.percentile(deltas[picks].mean(axis=1), [2.5, 97.5])
    return float(deltas.mean()), float(low), float(high)


def document_id(uri: str) -> str:
    """The test set's id of the document a passage is from."""
    return unquote(urlsplit(uri)._replace(fragment="").geturl().removeprefix(_URI_PREFIX))


def _parts(test_set: TestSet | QuestionSet, parent: str) -> Iterator[retriever_pb2.IngestDocumentsRequest]:
    yield retriever_pb2.IngestDocumentsRequest(start=retriever_pb2.IngestStart(parent=parent))
    for document in test_set.documents():
        header = retriever_pb2.Document(
            uri=_URI_PREFIX + quote(document.id, safe="/"), title=document.title[:500], mime_type=document.mime_type
        )
        yield retriever_pb2.IngestDocumentsRequest(document=header)
        for start in range(0, len(document.content), 2**19):
            yield retriever_pb2.IngestDocumentsRequest(content=document.content[start : start + 2**19])
