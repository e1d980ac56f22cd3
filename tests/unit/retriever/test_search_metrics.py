"""What a search is measured by means the same whatever mode and fusion it used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.retriever.domain import Chunk, Corpus, EmbeddingMode, Evidence, Found, Metric, Passage, SearchMode
from services.retriever.search_metrics import measure, overlap, top_score

CORPUS = Corpus("c", "", 200, 32, Metric.COSINE, EmbeddingMode.EAGER, "m", 2, 0.0, "collection")
CHUNK = Chunk("a", "d", "g", "u", "", "", (), "text", 0, "section", {})


def found(
    *ranks: tuple[int | None, int | None], mode: SearchMode = SearchMode.HYBRID, nearest: float | None = 0.5, terms: float = 0.25
) -> Found:
    passages = tuple(Passage(CHUNK, 1.0, 1.0, keyword_rank=keyword, vector_rank=vector) for keyword, vector in ranks)
    return Found(CORPUS, passages, mode, None, Evidence(nearest, terms, 0), {"total": 0.1})


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (found((1, 1)), 0.5),
        (found((1, 1), nearest=-0.2), 0.0),
        (found((1, 1), nearest=1.0000001), 1.0),
        (found((1, None), mode=SearchMode.KEYWORD), 0.25),
        (found(mode=SearchMode.KEYWORD), None),
        (found(mode=SearchMode.VECTOR, nearest=None), None),
        (replace(found((None, 1), nearest=-3.0), corpus=replace(CORPUS, metric=Metric.L2)), 0.25),
        (replace(found((None, 1), nearest=0.0), corpus=replace(CORPUS, metric=Metric.L2)), 1.0),
    ],
)
def test_the_top_score_lies_between_0_and_1(what: Found, expected: float | None) -> None:
    assert top_score(what) == expected


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (found((1, 2), (2, None), (None, 1), (3, 3)), 0.5),
        (found((1, None)), 0.0),
        (found(), None),
        (found((None, 1), mode=SearchMode.VECTOR), None),
    ],
)
def test_the_overlap_is_that_of_the_passages_returned(what: Found, expected: float | None) -> None:
    assert overlap(what) == expected


def test_the_span_says_what_was_recorded() -> None:
    assert measure(found((1, 1), (2, None))) == {
        "corella.search.passages": 2,
        "corella.search.top_score": 0.5,
        "corella.search.overlap": 0.5,
    }
    assert measure(found(nearest=None)) == {"corella.search.passages": 0}
