"""What is kept of a corpus beside its chunks, and of a chunk: nothing is readable that does not say for whom."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from services.retriever import milvus_schema as layout
from services.retriever.access import NOBODY
from services.retriever.domain import Chunk, Corpus, CorpusNeedsReindex, EmbeddingMode, Metric

CORPUS = Corpus("acme.books", "Books", 200, 32, Metric.L2, EmbeddingMode.LAZY, "model", 4, 1.5, "collection", "request")
CHUNK = Chunk("c", "d", "g", "https://docs.example.com/a", "", "A", ("A",), "text", 0, "section", {"k": "v"})


@pytest.mark.parametrize("corpus", [CORPUS, replace(CORPUS, default_access=NOBODY)])
def test_settings_come_back_as_they_were(corpus: Corpus) -> None:
    assert layout.corpus_of({layout.SETTINGS_PROPERTY: layout.settings_text(corpus)}) == corpus


def test_a_corpus_whose_chunks_do_not_say_who_may_read_them_is_refused() -> None:
    settings = json.loads(layout.settings_text(CORPUS))
    del settings["default_access"]
    with pytest.raises(CorpusNeedsReindex) as refused:
        layout.corpus_of({layout.SETTINGS_PROPERTY: json.dumps(settings)})
    assert refused.value.reason == "CORPUS_NEEDS_REINDEX"


def test_a_chunk_that_says_nothing_is_stored_for_nobody() -> None:
    assert layout.row_of(CHUNK, 4)[layout.ACCESS_FIELD] == -1
    assert layout.chunk_of(layout.row_of(replace(CHUNK, access=7), 4)).access == 7
