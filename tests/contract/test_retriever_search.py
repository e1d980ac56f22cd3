"""Searching over the wire with the real embedder, and lazy corpora with the toy one."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from retriever_stack import CALL_SECONDS, RetrieverStack, ToyEmbedder, failure

from corella.v1 import operation_pb2
from corella.v1 import retriever_pb2 as pb

SAMPLES = Path(__file__).parents[2] / "samples" / "pages"
AWKWARD = ['a"b', "a'b", "back\\slash", "50 % _off_", "naïve Ünïcode 漢字 🦜", '" or id != "', "line\nbreak", ""]


@pytest.fixture(scope="module")
def pages(retriever_stack: RetrieverStack) -> str:
    """A corpus of the sample pages on products and policies."""
    files = sorted([*SAMPLES.glob("products/*.md"), *SAMPLES.glob("policies/*.md")])
    documents = [
        (f"https://docs.example.com/{f.relative_to(SAMPLES)}", f.read_text(), {"folder": f.parent.name, "file": f.stem}) for f in files
    ]
    assert retriever_stack.fill("pages", documents).succeeded_count == len(files)
    return "pages"


@pytest.mark.parametrize("mode", [pb.SEARCH_MODE_UNSPECIFIED, pb.SEARCH_MODE_KEYWORD, pb.SEARCH_MODE_VECTOR, pb.SEARCH_MODE_HYBRID])
def test_every_mode_finds_the_passage_and_says_where_it_came_from(retriever_stack: RetrieverStack, pages: str, mode: int) -> None:
    response = retriever_stack.search(pages, "How long is the warranty of the Tolva 20?", mode=mode, limit=5)
    assert len(response.passages) == 5
    assert "https://docs.example.com/products/tolva-20.md#warranty-and-registration" in [passage.uri for passage in response.passages[:3]]
    assert [passage.score for passage in response.passages] == sorted((passage.score for passage in response.passages), reverse=True)
    best = response.passages[0].provenance
    assert best.HasField("keyword_rank") == (mode != pb.SEARCH_MODE_VECTOR)
    assert best.HasField("vector_rank") == (mode != pb.SEARCH_MODE_KEYWORD)
    assert response.evidence.HasField("top_vector_score") == (mode != pb.SEARCH_MODE_KEYWORD)
    assert 0.5 <= response.evidence.top_term_coverage <= 1.0
    assert response.timings.HasField("total")
    assert response.mode == (mode or pb.SEARCH_MODE_HYBRID)
    assert response.embedding_model_fingerprint == retriever_stack.corpus(pages).embedding_model_fingerprint != ""


def test_every_fusion_orders_by_its_own_score(retriever_stack: RetrieverStack, pages: str) -> None:
    query = "Can I return a product that I have opened?"
    responses = {
        fusion: retriever_stack.search(pages, query, fusion=fusion, limit=20)
        for fusion in (pb.FUSION_UNSPECIFIED, pb.FUSION_OVERLAP, pb.FUSION_RECIPROCAL_RANK, pb.FUSION_WEIGHTED)
    }
    assert responses[pb.FUSION_UNSPECIFIED].fusion == pb.FUSION_WEIGHTED
    assert list(responses[pb.FUSION_UNSPECIFIED].passages) == list(responses[pb.FUSION_WEIGHTED].passages)
    overlap = [
        p.provenance.HasField("keyword_rank") and p.provenance.HasField("vector_rank") for p in responses[pb.FUSION_OVERLAP].passages
    ]
    assert overlap == sorted(overlap, reverse=True)
    for passage in responses[pb.FUSION_RECIPROCAL_RANK].passages:
        ranks = [
            getattr(passage.provenance, f"{side}_rank") for side in ("keyword", "vector") if passage.provenance.HasField(f"{side}_rank")
        ]
        assert passage.score == pytest.approx(sum(1 / (60 + rank) for rank in ranks))


def test_the_vector_weight_decides_between_the_lists(retriever_stack: RetrieverStack, pages: str) -> None:
    query = "warranty of the Tolva"
    by_words = retriever_stack.search(pages, query, fusion=pb.FUSION_WEIGHTED, vector_weight=0.0, limit=3)
    by_vectors = retriever_stack.search(pages, query, fusion=pb.FUSION_WEIGHTED, vector_weight=1.0, limit=3)
    assert [p.provenance.keyword_rank for p in by_words.passages] == [1, 2, 3]
    assert [p.provenance.vector_rank for p in by_vectors.passages] == [1, 2, 3]


def test_a_filter_holds_in_every_mode(retriever_stack: RetrieverStack, pages: str) -> None:
    for mode in (pb.SEARCH_MODE_KEYWORD, pb.SEARCH_MODE_VECTOR, pb.SEARCH_MODE_HYBRID):

        def files(*conditions: pb.MetadataCondition, mode: int = mode) -> set[str]:
            found = retriever_stack.search(pages, "warranty", mode=mode, limit=100, filter=conditions)
            return {passage.metadata["folder"] for passage in found.passages}

        assert files() == {"products", "policies"}
        assert files(pb.MetadataCondition(key="folder", any_of=["policies"])) == {"policies"}
        assert files(pb.MetadataCondition(key="folder", any_of=["policies"], negate=True)) == {"products"}
        assert files(pb.MetadataCondition(key="folder", any_of=["policies", "products"])) == {"products", "policies"}
        assert files(pb.MetadataCondition(key="missing")) == set()
        assert files(pb.MetadataCondition(key="missing", negate=True)) == {"products", "policies"}
        both = [pb.MetadataCondition(key="folder", any_of=["products"]), pb.MetadataCondition(key="file", any_of=["warranty"])]
        assert files(*both) == set()


def test_no_value_breaks_out_of_a_filter(toy_stack: RetrieverStack) -> None:
    documents = [(f"https://docs.example.com/{i}.md", f"# Same\n\nsame words {i}\n", {"value": text}) for i, text in enumerate(AWKWARD)]
    toy_stack.fill("awkward", documents)
    for text in AWKWARD:
        condition = pb.MetadataCondition(key="value", any_of=[text])
        for mode in (pb.SEARCH_MODE_KEYWORD, pb.SEARCH_MODE_VECTOR):
            passages = toy_stack.search("awkward", "same words", mode=mode, limit=50, filter=[condition]).passages
            assert [passage.metadata["value"] for passage in passages] == [text]
    everything = pb.MetadataCondition(key="value", any_of=['x" or document_id != "'])
    assert len(toy_stack.search("awkward", "same words", filter=[everything]).passages) == 0


def test_other_metrics_order_like_the_cosine_for_vectors_of_length_one(retriever_stack: RetrieverStack) -> None:
    texts = ["Tea is brewed with hot water.", "Coffee beans are roasted.", "A falcon is a bird of prey.", "Turtles carry a shell."]
    documents = [(f"https://docs.example.com/{i}.md", f"# Note\n\n{text}\n") for i, text in enumerate(texts)]
    orders, scores = [], []
    for name, metric in (("cosine", pb.METRIC_COSINE), ("product", pb.METRIC_INNER_PRODUCT), ("euclid", pb.METRIC_L2)):
        retriever_stack.fill(f"metric-{name}", documents, metric=metric)
        passages = retriever_stack.search(f"metric-{name}", "a hot drink", mode=pb.SEARCH_MODE_VECTOR).passages
        orders.append([passage.uri for passage in passages])
        scores.append([passage.provenance.vector_score for passage in passages])
        assert len(retriever_stack.search(f"metric-{name}", "a hot drink of tea").passages) == 4
    assert orders[0] == orders[1] == orders[2]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
    assert scores[2] == pytest.approx([-((2 - 2 * cosine) ** 0.5) for cosine in scores[0]], abs=5e-3)


def test_a_query_of_nothing_but_punctuation_finds_by_vector_and_is_no_error(retriever_stack: RetrieverStack, pages: str) -> None:
    assert list(retriever_stack.search(pages, "?!", mode=pb.SEARCH_MODE_KEYWORD).passages) == []
    assert len(retriever_stack.search(pages, "?!").passages) == 10


def test_a_fresh_document_competes_by_words_with_a_large_corpus(retriever_stack: RetrieverStack, pages: str) -> None:
    """Document frequencies must be those of the whole corpus, also for a document that was added alone."""
    uri = "https://docs.example.com/policies/warranty-of-the-quokka.md"
    added = [(uri, "# Quokka\n\nThe quokka is repaired at no cost.\n")]
    retriever_stack.wait(retriever_stack.ingest(pages, added))
    ends_at = time.monotonic() + 10
    while True:
        best = retriever_stack.search(pages, "warranty period of the quokka", mode=pb.SEARCH_MODE_KEYWORD).passages[0]
        if best.uri.startswith(uri) or time.monotonic() > ends_at:
            break
        time.sleep(0.2)
    assert best.uri.startswith(uri)
    document = retriever_stack.documents(pages)[uri]
    retriever_stack.stub.DeleteDocument(pb.DeleteDocumentRequest(name=document.name), timeout=CALL_SECONDS)


def test_a_corpus_of_another_model_is_searched_by_words_only(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.fill("model", [("https://docs.example.com/a.md", "# A\n\nalpha\n")])
    before, toy_embedder.fingerprint = toy_embedder.fingerprint, "ffffffffffffffff"
    try:
        for mode in (pb.SEARCH_MODE_HYBRID, pb.SEARCH_MODE_VECTOR):
            with pytest.raises(grpc.RpcError) as error:
                toy_stack.search("model", "alpha", mode=mode)
            said = failure(error.value)
            assert (said.code, said.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EMBEDDING_MODEL_MISMATCH")
            assert said.metadata["serving_fingerprint"] == "ffffffffffffffff"
        assert len(toy_stack.search("model", "alpha", mode=pb.SEARCH_MODE_KEYWORD).passages) == 1
        operation = toy_stack.wait(toy_stack.ingest("model", [("https://docs.example.com/b.md", "# B\n\nbeta\n")]))
        assert operation.failed_count == 1
        assert "another" in operation.failures[0].error.message or "serves now" in operation.failures[0].error.message
    finally:
        toy_embedder.fingerprint = before


def test_reranking_without_a_model_says_so(retriever_stack: RetrieverStack, pages: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        retriever_stack.search(pages, "warranty", rerank=True)
    said = failure(error.value)
    assert (said.code, said.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RERANKER_NOT_CONFIGURED")


def lazy_pages(count: int) -> list[tuple[str, str]]:
    return [(f"https://docs.example.com/{i}.md", f"# Page {i}\n\ncommon word number{i}\n") for i in range(count)]


def test_a_lazy_corpus_embeds_hits_while_answering_and_the_rest_in_the_background(
    toy_stack: RetrieverStack, toy_embedder: ToyEmbedder
) -> None:
    toy_embedder.seconds_per_text = 0.02
    try:
        operation = toy_stack.fill("lazy", lazy_pages(200), embedding_mode=pb.EMBEDDING_MODE_LAZY)
        assert operation.chunk_count == 200
        assert operation.embedded_chunk_count == 0
        response = toy_stack.search("lazy", "number199 word", limit=5, keyword_limit=8)
        assert response.passages[0].uri.startswith("https://docs.example.com/199.md")
        assert response.passages[0].provenance.HasField("vector_score")
        if response.passages[0].provenance.embedded_now:
            assert response.timings.HasField("embed_hits")
        listed = toy_stack.stub.ListOperations(pb.ListOperationsRequest(target="corpora/lazy"), timeout=CALL_SECONDS).operations
        ends_at = time.monotonic() + 30
        while listed[0].kind != operation_pb2.OPERATION_KIND_WARM_CORPUS and time.monotonic() < ends_at:
            time.sleep(0.1)
            listed = toy_stack.stub.ListOperations(pb.ListOperationsRequest(target="corpora/lazy"), timeout=CALL_SECONDS).operations
        warmed = toy_stack.wait(listed[0])
    finally:
        toy_embedder.seconds_per_text = 0.0
    assert warmed.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    assert warmed.done_count == warmed.total_count
    corpus = toy_stack.corpus("lazy")
    assert (corpus.chunk_count, corpus.embedded_chunk_count) == (200, 200)
    assert {document.embedded_chunk_count for document in toy_stack.documents("lazy").values()} == {1}
    again = toy_stack.search("lazy", "number199 word", limit=5)
    assert not any(passage.provenance.embedded_now for passage in again.passages)


def test_a_hit_of_a_lazy_corpus_gets_its_vector_now_and_keeps_it(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_embedder.seconds_per_text = 10.0
    operation = toy_stack.fill("cold", lazy_pages(30), embedding_mode=pb.EMBEDDING_MODE_LAZY)
    assert operation.succeeded_count == 30
    toy_stack.kill("worker")
    toy_embedder.seconds_per_text = 0.0
    try:
        assert toy_stack.corpus("cold").embedded_chunk_count == 0
        best = toy_stack.search("cold", "number7", limit=5, mode=pb.SEARCH_MODE_VECTOR, keyword_limit=3).passages[0]
        assert best.uri.startswith("https://docs.example.com/7.md")
        assert best.provenance.embedded_now
        ends_at = time.monotonic() + 5
        while toy_stack.corpus("cold").embedded_chunk_count == 0:
            assert time.monotonic() < ends_at
            time.sleep(0.1)
        assert not toy_stack.search("cold", "number7", limit=1, keyword_limit=3).passages[0].provenance.embedded_now
    finally:
        toy_stack.start_worker()


def test_a_lazy_search_in_a_hurry_embeds_as_many_hits_as_the_time_allows(toy_stack: RetrieverStack, toy_embedder: ToyEmbedder) -> None:
    toy_stack.create("hurry", embedding_mode=pb.EMBEDDING_MODE_LAZY)
    toy_embedder.seconds_per_text = 0.05
    try:
        toy_stack.wait(toy_stack.ingest("hurry", lazy_pages(100)))
        request = pb.SearchRequest(corpus="corpora/hurry", query="common word", limit=100)
        started = time.monotonic()
        response = toy_stack.stub.Search(request, timeout=2.5)
        assert time.monotonic() - started < 2.5
    finally:
        toy_embedder.seconds_per_text = 0.0
    assert len(response.passages) == 100
    assert any(not passage.provenance.HasField("vector_rank") for passage in response.passages)
