"""Text is cut into what can be quoted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.sentences import split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two!", ["One.", "Two!"]),
        ("Dr. Smith is here. He waits.", ["Dr. Smith is here.", "He waits."]),
        ("It costs £4.50 approx. 3 kg. Next.", ["It costs £4.50 approx. 3 kg.", "Next."]),
        (
            "The limit is 18 m/s. The contact closes at 24 V. It opens again.",
            ["The limit is 18 m/s.", "The contact closes at 24 V.", "It opens again."],
        ),
        ("1. Open the lid.\n2. Press the button.", ["1. Open the lid.", "2. Press the button."]),
        ("You need:\n- a key\n- a lamp", ["You need:", "- a key", "- a lamp"]),
        ("| A | B |\n|---|---|\n| x | y |", ["| A | B |", "|---|---|", "| x | y |"]),
        ("Before it.\n\nA | B\nx | y\nz |\n\nAfter it.", ["Before it.", "A | B", "x | y", "z |", "After it."]),
        ("A line that is\nwrapped. And another.", ["A line that is\nwrapped.", "And another."]),
        ("", []),
        ("  \n ", []),
    ],
)
def test_prose_is_cut_into_sentences_and_lists_and_tables_into_lines(text: str, expected: list[str]) -> None:
    assert [sentence.text for sentence in split(text)] == expected


@given(st.text(alphabet="aB. |-\n1?é", max_size=80))
def test_sentences_lie_in_the_text_where_they_say_in_order_and_leave_only_space_out(text: str) -> None:
    position = 0
    for sentence in split(text):
        assert text[sentence.start : sentence.end] == sentence.text
        assert not text[position : sentence.start].strip()
        position = sentence.end
    assert not text[position:].strip()
