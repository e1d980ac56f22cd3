"""Scores of rankings against gold for the measurements of search, and where their documents come from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np

from corella.evaluation.beir import TestDocument, TestSet
from corella.evaluation.retrieval import NDCG


@dataclass(frozen=True)
class Part(TestSet):
    """Some documents of a test set; none chosen stands for all."""

    chosen: frozenset[str] = frozenset()

    __test__ = False

    def documents(self) -> Iterator[TestDocument]:
        """The chosen ones, in the set's order."""
        return (document for document in super().documents() if not self.chosen or document.id in self.chosen)


def part_of(test_set: TestSet, count: int | None, *, seed: int = 13, needed: bool = False) -> Part:
    """A fixed random sample of `count` documents; all of them when `count` is None.

    `needed`: those that answer the queries come first. Queries whose documents are not among the sample are left out.
    """
    fields = (test_set.name, test_set.folder)
    if count is None:
        return Part(*fields, test_set.queries, test_set.judgements)
    ids = sorted(document.id for document in test_set.documents())
    random.Random(seed).shuffle(ids)
    gold = {document for judged in test_set.judgements.values() for document, grade in judged.items() if grade > 0}
    if needed:
        ids.sort(key=lambda document: document not in gold)
    chosen = frozenset(ids[:count])
    judgements = {query: judged for query, judged in test_set.judgements.items() if chosen.intersection(judged)}
    return Part(*fields, tuple(query for query in test_set.queries if query.id in judgements), judgements, chosen)


def ndcg_by_query(judgements: Mapping[str, Mapping[str, int]], ranked: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """nDCG@10 of each query; `ranked` holds for each the names that were found, best first, once or more: the first place counts."""
    run: dict[str, dict[str, float]] = {}
    for query, names in ranked.items():
        places: dict[str, float] = {}
        for name in names:
            # Places, not scores: ties would be broken at random.
            places.setdefault(name, -float(len(places)))
        run[query] = places
    scored = {m.query_id: m.value for m in ir_measures.iter_calc([NDCG], {query: dict(judgements[query]) for query in run}, run)}
    return {query: scored.get(query, 0.0) for query in run}


def difference(candidate: Mapping[str, float], other: Mapping[str, float], *, samples: int = 10_000) -> tuple[float, float, float]:
    """Mean difference over queries and the ends of its 95 % interval (paired bootstrap; Efron and Tibshirani, 1993)."""
    deltas = np.array([candidate[query] - other[query] for query in candidate])
    picks = np.random.default_rng(13).integers(0, len(deltas), (samples, len(deltas)))
    low, high = np.percentile(deltas[picks].mean(axis=1), [2.5, 97.5])
    return float(deltas.mean()), float(low), float(high)


def mean(values: Mapping[str, float]) -> float:
    """The mean over queries."""
    return float(np.mean(list(values.values())))
