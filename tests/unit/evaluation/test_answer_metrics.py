"""Answer metrics by example."""

from __future__ import annotations

import pytest

from corella.evaluation.answer_metrics import Judged, contains_gold, exact_match, summarize, token_f1


@pytest.mark.parametrize(
    ("answer", "gold", "f1"),
    [
        ("36 months", ["36 months"], 1.0),
        ("The 36 months. [1]", ["36 months"], 1.0),
        ("36 months", ["three years", "36 months"], 1.0),
        ("It is 36 months", ["36 months"], 2 * 0.5 * 1.0 / 1.5),
        ("18 weeks", ["36 months"], 0.0),
        ("", ["36 months"], 0.0),
    ],
)
def test_token_f1(answer, gold, f1):
    assert token_f1(answer, gold) == pytest.approx(f1)


def test_exact_match_forgives_case_articles_and_punctuation():
    assert exact_match("The Falcon!", ["falcon"])
    assert not exact_match("A grey falcon", ["falcon"])


def test_gold_must_stand_in_the_answer_in_one_piece():
    assert contains_gold("The warranty is 36 months. [2]", ["36 months"])
    assert not contains_gold("36 of the months", ["36 months old"])
    assert not contains_gold("136 months", ["36 months"])


def judged(**changes) -> Judged:
    values = {"answerable": True, "refused": False, "f1": 0.0, "contains": False, "cited": (), "right": (), "found": False}
    return Judged(**{**values, "first_text_seconds": 1.0, "total_seconds": 2.0, **changes})


def test_a_summary_counts_each_share_over_the_right_questions():
    summary = summarize(
        [
            judged(f1=1.0, contains=True, cited=("a", "b"), right=(True, False), found=True),
            judged(refused=True, found=True),
            judged(answerable=False, refused=True),
            judged(answerable=False, cited=("c",), right=(False,)),
        ]
    )
    assert summary.f1 == 0.5
    assert summary.citation_precision == 0.5  # the citation under the unanswerable question counts against refusal, not here
    assert summary.citation_recall == 0.5
    assert summary.refusal_precision == 0.5
    assert summary.refusal_recall == 0.5
    assert summary.passage_recall == 1.0
    assert summary.cited_when_answered == 1.0


def test_nothing_to_divide_by_is_said_and_not_zero():
    assert summarize([judged()]).refusal_precision is None
