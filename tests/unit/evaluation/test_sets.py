"""Test sets: both forms are read, what is missing is named, and a citation is matched to its gold source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corella.evaluation import beir, retrieval
from corella.evaluation.questions import Source, load_questions

SAMPLES = Path(__file__).parents[3] / "samples"


@pytest.fixture
def beir_set(tmp_path: Path) -> Path:
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d/{n}", "title": f"T{n}", "text": f"text {n}"}) + "\n" for n in range(3))
    )
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{n}", "text": f"query {n}", "metadata": {"answers": ["a"]}}) + "\n" for n in range(3))
    )
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td/0\t1\nq2\td/2\t2\n")
    return tmp_path


def test_a_set_has_its_documents_and_only_judged_queries(beir_set):
    loaded = beir.load(beir_set)
    assert [document.id for document in loaded.documents()] == ["d/0", "d/1", "d/2"]
    assert [query.id for query in loaded.queries] == ["q0", "q2"]
    assert loaded.judgements["q2"] == {"d/2": 2}


def test_a_sample_is_the_same_every_time(beir_set):
    first = beir.load(beir_set, max_queries=1)
    assert first.queries == beir.load(beir_set, max_queries=1).queries
    assert set(first.judgements) == {query.id for query in first.queries}


@pytest.mark.parametrize("missing", ["queries.jsonl", "qrels.tsv", "corpus.jsonl"])
def test_what_is_missing_is_named(beir_set, missing):
    (beir_set / missing).unlink()
    with pytest.raises(beir.TestSetInvalid, match=missing.split(".")[0]):
        beir.load(beir_set)


def test_a_document_is_recognised_in_the_uri_of_its_passage(beir_set):
    parts = list(retrieval._parts(beir.load(beir_set), "corpora/x"))
    headers = [part.document.uri for part in parts if part.HasField("document")]
    assert [retrieval.document_id(uri + "#section") for uri in headers] == ["d/0", "d/1", "d/2"]


def test_the_better_ranking_scores_higher_and_a_query_without_hits_scores_zero(beir_set):
    loaded = beir.load(beir_set)
    good = retrieval._score(loaded, "good", {"q0": {"d/0": 2.0, "d/1": 1.0}, "q2": {"d/2": 1.0}}, 1.0)
    poor = retrieval._score(loaded, "poor", {"q0": {"d/1": 2.0, "d/0": 1.0}}, 1.0)
    assert good.ndcg == 1.0
    assert poor.ndcg_by_query["q2"] == 0.0
    assert 0 < poor.ndcg < 0.5
    delta, low, high = retrieval.difference(good, poor)
    assert low <= delta <= high
    assert delta == pytest.approx(good.ndcg - poor.ndcg)


def test_the_samples_are_a_set_of_questions_with_documents():
    loaded = load_questions(SAMPLES)
    assert len(loaded.questions) >= 40
    ids = {document.id for document in loaded.documents()}
    assert all(source.document in ids for question in loaded.questions for source in question.sources)
    assert any(question.history for question in loaded.questions)


@pytest.mark.parametrize(
    ("uri", "cited"),
    [
        ("file:///srv/samples/pages/a%20b.md#warranty", True),
        ("https://x.example/pages/a%20b.md#warranty", True),
        ("https://x.example/pages/a%20b.md#price", False),
        ("https://x.example/pages/a%20b.md", False),
        ("https://x.example/other/b.md#warranty", False),
        ("https://own.example/T-1#warranty", True),
    ],
)
def test_a_citation_matches_document_and_anchor(uri, cited):
    assert Source("pages/a b.md", "warranty", "https://own.example/T-1").is_cited_by(uri) is cited
