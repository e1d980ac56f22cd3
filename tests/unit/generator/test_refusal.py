"""The judgement whether passages hold an answer at all."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from services.generator.domain import Evidence, Passage
from services.generator.refusal import DEFAULT_THRESHOLD, answerability, features

SHEET = Passage(
    "1",
    "1",
    "Tolva 20",
    "https://example.com/1",
    ("Battery",),
    "One charge lasts 95 hours with Bluetooth on. The cell is charged by USB-C.",
)
ABOUT = Passage("2", "2", "About us", "https://example.com/2", ("People",), "Maren Oldacre leads the company. It has 118 employees.")
STRONG, WEAK = Evidence(0.75, 1.0, 4), Evidence(0.2, 0.1, 0)


def test_nothing_found_holds_nothing() -> None:
    assert answerability("How long does a charge last?", [], STRONG) == 0.0


def test_a_question_the_passages_answer_is_let_through() -> None:
    assert (
        answerability("How long does one charge of the Tolva 20 last with Bluetooth on?", [SHEET, ABOUT], STRONG) > DEFAULT_THRESHOLD + 0.2
    )


def test_a_question_about_something_else_is_refused() -> None:
    assert answerability("Who painted the ceiling of the chapel in Rome?", [SHEET, ABOUT], WEAK) < DEFAULT_THRESHOLD


@pytest.mark.parametrize(
    ("near", "far"),
    [
        ("How long does one charge of the Tolva 20 last?", "How long does one charge of the Tolva 35 last?"),
        ("Does the company of Maren Oldacre have employees?", "Does the company of Piers Thornley have employees?"),
        ("How many employees does the company have?", "How many factories does the company have?"),
    ],
)
def test_a_number_a_name_or_a_word_that_stands_nowhere_lowers_it(near: str, far: str) -> None:
    assert answerability(far, [SHEET, ABOUT], STRONG) < answerability(near, [SHEET, ABOUT], STRONG)


def test_it_rises_with_the_nearest_vector() -> None:
    scores = [answerability("How long does a charge last?", [SHEET], Evidence(value)) for value in (0.1, 0.4, 0.8)]
    assert scores == sorted(scores)
    assert scores[0] < scores[2]


def test_it_works_without_vectors_and_with_odd_input() -> None:
    empty = Passage("3", "3", "", "https://example.com/3", (), "")
    for question in ("?", "the of and", "Wie lange hält der Akku?", "x" * 4000):
        for passages in ([SHEET], [empty]):
            assert 0.0 <= answerability(question, passages, Evidence()) <= 1.0


def test_every_feature_lies_between_nought_and_one() -> None:
    found = features("How long does one charge not last for Maren in 1999?", [SHEET, ABOUT], STRONG)
    assert all(0.0 <= value <= 1.0 for value in astuple(found))
