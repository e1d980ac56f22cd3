"""Fusion: order, provenance and the definitions each method has to stay true to."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.fusion import (
    FusedHit,
    Hit,
    keyword_only,
    overlap,
    reciprocal_rank,
    vector_only,
    weighted,
)

METHODS = [overlap, reciprocal_rank, weighted]


def keyword_hits(text):
    """Turn "a b c" into hits with falling BM25-like scores."""
    return [Hit(id_, 12.0 - rank) for rank, id_ in enumerate(text.split())]


def vector_hits(text):
    """Turn "a b c" into hits with falling cosine-like scores."""
    return [Hit(id_, 0.8 - 0.1 * rank) for rank, id_ in enumerate(text.split())]


def ids(fused):
    return [hit.id for hit in fused]


@pytest.mark.parametrize(
    ("method", "keyword", "vector", "expected"),
    [
        (overlap, "a b c", "x c y", "c a x b y"),
        (overlap, "a b", "x y", "a x b y"),
        (overlap, "a b c", "", "a b c"),
        (overlap, "", "x y", "x y"),
        (overlap, "a b", "b a", "b a"),  # the vector side weighs more
        (reciprocal_rank, "a b c", "x c y", "c a x b y"),
        (reciprocal_rank, "a b", "b a", "a b"),
        (reciprocal_rank, "a b", "x y", "a x b y"),
        (weighted, "a b c", "b a c", "b a c"),
        (weighted, "a b", "", "a b"),
        (weighted, "", "x y", "x y"),
    ],
)
def test_order(method, keyword, vector, expected):
    assert ids(method(keyword_hits(keyword), vector_hits(vector))) == expected.split()


@pytest.mark.parametrize("method", METHODS)
def test_nothing_gives_nothing(method):
    assert method([], []) == []


@pytest.mark.parametrize("method", METHODS)
def test_provenance(method):
    fused = {hit.id: hit for hit in method([Hit("a", 9.0), Hit("b", 7.0)], [Hit("b", 0.6), Hit("c", 0.5)])}
    a, b, c = fused["a"], fused["b"], fused["c"]
    assert (a.keyword_rank, a.keyword_score, a.vector_rank, a.vector_score, a.in_both) == (1, 9.0, None, None, False)
    assert (b.keyword_rank, b.keyword_score, b.vector_rank, b.vector_score, b.in_both) == (2, 7.0, 1, 0.6, True)
    assert (c.keyword_rank, c.keyword_score, c.vector_rank, c.vector_score, c.in_both) == (None, None, 2, 0.5, False)


def test_reciprocal_rank_scores():
    fused = {hit.id: hit.fused_score for hit in reciprocal_rank(keyword_hits("a b"), vector_hits("b"), k=60)}
    assert fused == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61})


def test_weighted_scores():
    fused = weighted([Hit("a", 10.0), Hit("b", 5.0)], [Hit("b", 0.6), Hit("c", 0.2)], vector_weight=0.5)
    lowest = 1.2 / 1.6
    expected = {"a": 0.5 + 0.5 * lowest, "b": 0.25 + 0.5, "c": 0.5 * lowest}
    assert {hit.id: hit.fused_score for hit in fused} == pytest.approx(expected)


@pytest.mark.parametrize(("weight", "first"), [(0.0, "a"), (1.0, "x")])
def test_weight_at_its_ends_follows_one_side(weight, first):
    assert weighted(keyword_hits("a x"), vector_hits("x a"), vector_weight=weight)[0].id == first


def test_near_ties_stay_near_ties():
    """Three hits a permission filter left, keyword scores nearly equal: the vector side decides."""
    keyword = [Hit("a", 10.0), Hit("b", 9.9), Hit("c", 9.8)]
    vector = [Hit("c", 0.7), Hit("b", 0.5), Hit("a", 0.3)]
    assert ids(weighted(keyword, vector)) == ["c", "b", "a"]


def test_one_exact_keyword_hit_counts():
    """A rare error code found once by keyword beats what the vector side finds vaguely similar."""
    vector = vector_hits("v1 v2 v3 v4 code")
    assert weighted([Hit("code", 11.0)], vector)[0].id == "code"


@pytest.mark.parametrize("call", [lambda: weighted([], [], vector_weight=1.1), lambda: reciprocal_rank([], [], k=-1)])
def test_bad_parameters_are_refused(call):
    with pytest.raises(ValueError, match="must"):
        call()


@pytest.mark.parametrize("method", METHODS)
def test_scores_that_are_no_numbers_are_left_out(method):
    assert ids(method([Hit("a", math.nan), Hit("b", 1.0)], [Hit("c", math.inf)])) == ["b"]


def test_repeated_ids_count_once_with_their_best_score():
    assert keyword_only([Hit("a", 1.0), Hit("a", 3.0), Hit("b", 2.0)]) == [
        FusedHit("a", 3.0, keyword_rank=1, keyword_score=3.0),
        FusedHit("b", 2.0, keyword_rank=2, keyword_score=2.0),
    ]


def test_one_list_alone():
    assert vector_only([Hit("x", 0.2), Hit("y", 0.9)]) == [
        FusedHit("y", 0.9, vector_rank=1, vector_score=0.9),
        FusedHit("x", 0.2, vector_rank=2, vector_score=0.2),
    ]


def hits_between(low, high):
    hit = st.builds(Hit, st.sampled_from("abcdefgh"), st.floats(low, high))
    return st.lists(hit, max_size=8, unique_by=lambda hit: hit.id)


@pytest.mark.parametrize("method", METHODS)
@given(keyword=hits_between(0, 60), vector=hits_between(-1, 1), seed=st.randoms())
def test_every_method_is_a_deterministic_sorted_union(method, keyword, vector, seed):
    fused = method(keyword, vector)
    assert sorted(ids(fused)) == sorted({hit.id for hit in keyword + vector})
    scores = [hit.fused_score for hit in fused]
    assert scores == sorted(scores, reverse=True)
    seed.shuffle(keyword)
    seed.shuffle(vector)
    assert method(keyword, vector) == fused


@given(keyword=hits_between(0, 60), vector=hits_between(-1, 1))
def test_overlap_puts_hits_of_both_lists_first(keyword, vector):
    flags = [hit.in_both for hit in overlap(keyword, vector)]
    assert flags == sorted(flags, reverse=True)


@given(keyword=hits_between(0, 60), vector=hits_between(-1, 1), factor=st.floats(0.01, 100))
def test_weighted_does_not_depend_on_the_scale_of_keyword_scores(keyword, vector, factor):
    scaled = {hit.id: hit.fused_score for hit in weighted([Hit(h.id, h.score * factor) for h in keyword], vector)}
    assert scaled == pytest.approx({hit.id: hit.fused_score for hit in weighted(keyword, vector)}, abs=1e-6)
