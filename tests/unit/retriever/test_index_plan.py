"""What a new index of a corpus would be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.chassis.errors import InvalidArgument
from services.retriever.access import NOBODY
from services.retriever.domain import Corpus, EmbeddingMode, IndexWish, Metric, Model
from services.retriever.index_plan import MADE_BY, alike, chunking, planned
from services.retriever.milvus_schema import index_in, is_collection_of, settings_text

OLD, NEW = Model("old", 384, 256), Model("new", 768, 512)
CORPUS = Corpus(
    "acme.books", "Books", 200, 32, Metric.L2, EmbeddingMode.EAGER, "old", 384, 7.0, "corella_c_x", "r", NOBODY, made_by=MADE_BY
)  # fmt: skip


@pytest.mark.parametrize(
    ("wish", "model", "expected"),
    [
        (IndexWish(), OLD, (200, 32)), (IndexWish(100), OLD, (100, 32)), (IndexWish(40), OLD, (40, 20)), (IndexWish(0, 50), OLD, (200, 50)),
        (IndexWish(0, -1), OLD, (200, 0)), (IndexWish(500, 0), NEW, (500, 32)), (IndexWish(), Model("small", 8, 66), (64, 32)),
    ],
)  # fmt: skip
def test_what_is_not_asked_for_stays_as_far_as_the_model_allows(wish: IndexWish, model: Model, expected: tuple[int, int]) -> None:
    made = planned(CORPUS, model, wish)
    assert (made.max_tokens, made.overlap_tokens) == expected
    assert (made.fingerprint, made.dimensions) == (model.fingerprint, model.dimensions)


def test_a_corpus_without_overlap_stays_without() -> None:
    assert planned(replace(CORPUS, overlap_tokens=0), OLD, IndexWish()).overlap_tokens == 0


@pytest.mark.parametrize(
    ("wish", "field"), [(IndexWish(500), "max_tokens"), (IndexWish(8), "max_tokens"), (IndexWish(40, 30), "overlap_tokens")]
)
def test_what_the_model_cannot_do_is_refused(wish: IndexWish, field: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        planned(CORPUS, OLD, wish)
    assert [name for name, _ in error.value.violations] == [f"chunking.{field}"]


def test_the_corpus_is_the_same_and_its_collection_another() -> None:
    made = planned(CORPUS, NEW, IndexWish(mode=EmbeddingMode.LAZY))
    assert made.collection != CORPUS.collection
    assert is_collection_of(made.collection, CORPUS.id)
    assert (made.id, made.display_name, made.metric, made.create_time, made.default_access) == (
        CORPUS.id, CORPUS.display_name, CORPUS.metric, CORPUS.create_time, NOBODY,
    )  # fmt: skip
    assert made.mode is EmbeddingMode.LAZY
    assert made.index_time > CORPUS.create_time
    assert index_in(settings_text(made)) == made


@pytest.mark.parametrize(
    "changed", [{"fingerprint": "x"}, {"max_tokens": 1}, {"overlap_tokens": 1}, {"mode": EmbeddingMode.LAZY}, {"made_by": "0 0"}]
)
def test_indexes_are_alike_when_nothing_that_shapes_chunks_or_vectors_differs(changed: dict[str, object]) -> None:
    assert alike(CORPUS, replace(CORPUS, collection="other", index_time=9.0))
    assert not alike(CORPUS, replace(CORPUS, **changed))  # type: ignore[arg-type]


def test_defaults_of_a_new_corpus_fit_the_model() -> None:
    assert chunking(OLD, 0, 0, "c") == (200, 32)
    assert chunking(Model("tiny", 8, 40), 0, 0, "c") == (38, 19)
    assert chunking(OLD, 64, -1, "c") == (64, 0)
