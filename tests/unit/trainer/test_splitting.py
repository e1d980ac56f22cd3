from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.domain import DONT_KNOW, Example, Message, NothingToTrainOn, Passage, Split
from services.trainer.near_duplicates import THRESHOLD, asked, deduplicate, shingles
from services.trainer.splitting import sides_of, split_examples
from services.trainer.words import overlap

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def prompt(number: int, answer: str = "", **given_: object) -> Example:
    """Prompts that share nothing: their words are spelt from the number."""
    spelt = "".join(LETTERS[int(digit)] for digit in str(number))
    text = " ".join(f"{spelt}{letter}" for letter in LETTERS[:8])
    return Example(f"p{number}", answer or f"{spelt} is the answer", messages=(Message("user", text),), **given_)  # type: ignore[arg-type]


def split(examples: list[Example], **given_: object) -> list[Example]:
    found = deduplicate(examples)
    return split_examples(found.examples, found.groups, Split(**given_))  # type: ignore[arg-type]


def counts(examples: list[Example]) -> Counter[str]:
    return Counter(example.split for example in examples)


@pytest.mark.parametrize(
    ("given_", "sizes"),
    [
        ({}, (72, 18, 10)),
        ({"validation_share": 0.1, "held_out_share": 0.0}, (90, 10, 0)),
        ({"validation_share": 0.2, "held_out_share": 0.0}, (80, 20, 0)),
        ({"validation_share": 0.5, "held_out_share": 0.2}, (40, 40, 20)),
    ],
)
def test_the_shares_are_kept(given_: dict[str, float], sizes: tuple[int, int, int]) -> None:
    found = counts(split([prompt(number) for number in range(100)], **given_))
    assert (found["training"], found["validation"], found["held_out"]) == sizes


def test_folds_are_of_one_size_and_each_validates_once() -> None:
    examples = split([prompt(number) for number in range(100)], folds=5)
    assert Counter(example.fold for example in examples) == {None: 10, 0: 18, 1: 18, 2: 18, 3: 18, 4: 18}
    validated = [example.id for fold in range(5) for example in sides_of(examples, fold).validation]
    assert len(validated) == len(set(validated)) == 90
    assert all(len(sides_of(examples, fold).training) == 72 for fold in range(5))


def test_every_kind_is_on_every_side() -> None:
    def question(number: int) -> Example:
        return Example(f"q{number}", DONT_KNOW, question=asked(prompt(number)), passages=(Passage("x"),), answerable=False)

    examples = [prompt(number) for number in range(60)]
    examples += [replace(prompt(number), corner_case=True) for number in range(60, 63)]
    examples += [question(number) for number in range(100, 106)]
    found = split(examples)
    for kind in (lambda each: each.corner_case, lambda each: each.is_question, lambda each: not each.is_question):
        assert {example.split for example in found if kind(example)} == {"training", "validation", "held_out"}


def test_what_is_marked_is_held_out_with_its_group_and_nothing_else() -> None:
    examples = [prompt(number) for number in range(40)]
    examples[3] = replace(examples[3], held_back=True, group="g")
    examples[7] = replace(examples[7], group="g")
    found = split(examples)
    assert {example.id for example in found if example.split == "held_out"} == {"p3", "p7"}


def test_what_was_held_out_before_stays_so_and_what_was_trained_on_is_not_held_out() -> None:
    old = split([prompt(number) for number in range(50)])
    new = [prompt(number) for number in range(100, 150)]
    found = {example.id: example for example in split([*old, *new], seed=99)}
    assert all(found[example.id].split == "held_out" for example in old if example.split == "held_out")
    assert not any(found[example.id].split == "held_out" for example in old if example.split != "held_out")
    assert sum(found[example.id].split == "held_out" for example in new) == 5


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(NothingToTrainOn, match="There is 1 group of examples"):
        split([prompt(number, group="g") for number in range(50)])
    with pytest.raises(NothingToTrainOn, match="too few for 5 folds"):
        split([prompt(number) for number in range(4)], folds=5, held_out_share=0.0)


def test_three_examples_are_enough_for_three_sides() -> None:
    assert counts(split([prompt(number) for number in range(3)])) == {"training": 1, "validation": 1, "held_out": 1}


words = st.lists(st.sampled_from(["warm", "cold", "wind", "rain"]), min_size=1, max_size=6).map(" ".join)
examples_ = st.lists(
    st.builds(
        lambda text, answer, group, corner, held: (text, answer, group, corner, held),
        words, words, st.sampled_from(["", "", "g", "h"]), st.booleans(), st.sampled_from([False] * 9 + [True]),
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(examples_, st.integers(0, 3), st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([0, 3]))
def test_nothing_straddles_a_split_and_the_same_is_split_the_same(
    drawn: list[tuple[str, str, str, bool, bool]], seed: int, held_out_share: float, folds: int
) -> None:
    mixed = [
        Example(str(index), answer, messages=(Message("user", text),), group=group, corner_case=corner, held_back=held)
        for index, (text, answer, group, corner, held) in enumerate(drawn)
    ] + [prompt(number) for number in range(1000, 1006)]
    found = split(mixed, seed=seed, held_out_share=held_out_share, folds=folds)
    assert found == split(mixed, seed=seed, held_out_share=held_out_share, folds=folds)

    def side(example: Example) -> object:
        return (example.split, example.fold)

    for first in found:
        for second in found:
            near = overlap(shingles(asked(first)), shingles(asked(second))) >= THRESHOLD
            if near or (first.group and first.group == second.group):
                assert side(first) == side(second)
    assert all(example.split == "held_out" for example in found if example.held_back)
    assert {example.split for example in found} >= {"training", "validation"}
