from __future__ import annotations

from dataclasses import replace

import pytest

from services.trainer.dataset_checks import warnings_for
from services.trainer.domain import DONT_KNOW, Example, Message, Passage


def question(number: int, **given: object) -> Example:
    split = "held_out" if number % 4 == 0 else "training"
    base = Example(
        f"q{number}", f"answer {number}", question=f"Question {number}?", passages=(Passage("x"),), sources=("a.md",), split=split
    )
    return replace(base, **given)  # type: ignore[arg-type]


def sound() -> list[Example]:
    examples = [question(number) for number in range(100)]
    return [replace(each, answerable=False, answer=DONT_KNOW) if index % 5 == 0 else each for index, each in enumerate(examples)]


def test_a_sound_dataset_has_no_warnings() -> None:
    assert warnings_for(sound()) == []


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        (lambda examples: examples[:30], "only 22 examples to train on"),
        (lambda examples: examples[:30], "Only 8 examples are held out"),
        (lambda examples: [each for each in examples if each.split != "held_out"], "Nothing is held out"),
        (lambda examples: [question(number) for number in range(100)], "Every question can be answered"),
        (lambda examples: [replace(each, answerable=False) for each in examples], "No question can be answered"),
        (lambda examples: [*(question(number) for number in range(99)), question(99, answerable=False)], "99 of 100 questions"),
        (lambda examples: [replace(examples[1], concept="Depots"), *examples], "“Depots” (1)"),
        (lambda examples: [replace(examples[1], answer="another"), *examples], "1 prompt has different answers"),
        (lambda examples: [replace(examples[1], answer="word " * 2000), *examples[2:]], "1 examples have more than 1,500 words"),
        (lambda examples: [replace(each, sources=()) for each in examples], "80 of 80 answerable questions name no `sources`"),
        (lambda examples: [replace(examples[1], corner_case=True), *examples[2:]], "No corner case is held out"),
    ],
)
def test_what_is_odd_is_told(changed, warning: str) -> None:  # type: ignore[no-untyped-def]
    assert any(warning in each for each in warnings_for(changed(sound())))


def test_the_same_question_about_other_passages_may_have_another_answer() -> None:
    examples = sound()
    other = replace(examples[1], answer="another", passages=(Passage("y"),))
    assert warnings_for([*examples, other]) == []


def test_prompts_need_neither_sources_nor_refusals() -> None:
    examples = [replace(question(number), question="", messages=(Message("user", f"Say {number}"),), sources=()) for number in range(100)]
    assert warnings_for(examples) == []
