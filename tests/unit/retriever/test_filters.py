"""Metadata conditions: an expression holds exactly for the metadata it should, whatever characters there are in it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.domain import Condition
from services.retriever.filters import expression, key_label, labels, value_label
from services.retriever.milvus_schema import LABELS_BYTES, quoted

_ATOM = re.compile(r'labels like "% (\w+) %"')


def holds(condition: Condition, metadata: dict[str, str]) -> bool:
    """Evaluates the expression as Milvus would: every LIKE is a search for a label between blanks."""
    text = _ATOM.sub(lambda match: str(f" {match.group(1)} " in labels(metadata)), expression([condition]))
    assert re.fullmatch(r"[()TrueFalsornt ]*", text), text
    return bool(eval(text))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition("a", ("1",), False), True),
        (Condition("a", ("2",), False), False),
        (Condition("a", ("2", "1"), False), True),
        (Condition("a", (), False), True),
        (Condition("c", (), False), False),
        (Condition("c", (), True), True),
        (Condition("a", ("1",), True), False),
        (Condition("b", ("1",), False), False),
        (Condition("a", ("",), False), False),
    ],
)
def test_a_condition_holds_for_what_it_says(condition: Condition, expected: bool) -> None:
    assert holds(condition, {"a": "1", "b": "x y"}) is expected


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=8), st.text(min_size=1), st.lists(st.text(), max_size=3), st.booleans())
def test_any_key_and_value_filter_as_plain_comparison_would(metadata: dict[str, str], key: str, values: list[str], negate: bool) -> None:
    plain = metadata[key] in values if values and key in metadata else key in metadata and not values
    assert holds(Condition(key, tuple(values), negate), metadata) is (plain is not negate)


@given(st.text(), st.text())
def test_nothing_a_caller_sends_enters_the_expression(key: str, value: str) -> None:
    assert re.fullmatch(r'\(labels like "% v[0-9a-f]{24} %"\)', expression([Condition(key, (value,), False)]))


def test_a_key_and_a_value_do_not_run_into_each_other() -> None:
    assert value_label("ab", "c") != value_label("a", "bc")
    assert value_label("a", "") != key_label("a")


def test_several_conditions_must_all_hold() -> None:
    text = expression([Condition("a", ("1",), False), Condition("b", (), True)])
    assert text == f'(labels like "% {value_label("a", "1")} %") and not (labels like "% {key_label("b")} %")'
    assert expression([]) == ""


def test_the_most_metadata_there_can_be_fits_the_field() -> None:
    assert len(labels({f"key-{i}": "x" * 1000 for i in range(32)})) <= LABELS_BYTES


@pytest.mark.parametrize("value", ['a" or id != "', "a b", "", "é"])
def test_what_is_no_id_never_becomes_part_of_an_expression(value: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        quoted([value])
