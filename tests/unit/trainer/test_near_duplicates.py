from __future__ import annotations

from services.trainer.domain import DONT_KNOW, Example, Message, Passage
from services.trainer.near_duplicates import deduplicate, near_pairs, shingles

LONG = (
    "please write a friendly reply to a customer whose sensor has stopped sending readings after the cells were changed last week and who "
    "wants to know whether the warranty still covers the device or whether a new one has to be ordered from the shop in the next days"
)


def prompt(name: str, text: str, answer: str, **given: object) -> Example:
    return Example(name, answer, messages=(Message("user", text),), **given)  # type: ignore[arg-type]


def kept(*examples: Example) -> list[str]:
    return [example.id for example in deduplicate(examples).examples]


def test_of_the_same_the_best_is_kept() -> None:
    assert kept(prompt("a", "Hello there!", "Hi."), prompt("b", "hello  THERE", "hi", score=0.5)) == ["a"]
    assert kept(prompt("a", "Hello!", "Hi.", score=0.5), prompt("b", "Hello", "Hi!", score=0.9)) == ["b"]
    assert kept(prompt("a", "Hello!", "Hi", score=0.5), prompt("b", "Hello!", "Hi!!", score=0.5)) == ["b"]
    assert kept(prompt("a", "Hello!", "Hi"), prompt("b", "Hello!", "Hi!", held_back=True)) == ["b"]


def test_a_word_changed_in_a_long_text_is_a_repeat() -> None:
    found = deduplicate([prompt("a", LONG, "Yes, it does."), prompt("b", LONG.replace("friendly", "kind"), "Yes, it does.")])
    assert [example.id for example in found.examples] == ["a"]
    assert found.duplicate_count == 1


def test_another_answer_or_another_number_is_no_repeat_but_stays_in_the_group() -> None:
    found = deduplicate(
        [
            prompt("a", LONG, "Yes, it does."),
            prompt("b", LONG, "No, a new one has to be ordered."),
            prompt("c", LONG + " tolva 10", "Yes, it does."),
            prompt("d", "Something else entirely", "Yes, it does."),
        ]
    )
    assert found.duplicate_count == 0
    assert len(set(found.groups[:3])) == 1
    assert found.groups[3] != found.groups[0]


def test_a_question_with_its_passage_and_without_it_are_two_examples_of_one_group() -> None:
    question = "How long is the warranty of the Tolva 20?"
    found = deduplicate(
        [
            Example("a", "36 months", question=question, passages=(Passage("It is 36 months."),)),
            Example("b", DONT_KNOW, question=question, passages=(Passage("Other."),), answerable=False),
        ]
    )
    assert len(found.examples) == 2
    assert found.groups[0] == found.groups[1]


def test_a_question_put_a_little_differently_stays_in_the_group() -> None:
    texts = ("How long is the warranty of the Tolva 20?", "How long is the warranty for a Tolva 20?", "How long is that of the Tolva 10?")
    found = deduplicate([Example(text, "36 months", question=text, corpus="corpora/docs") for text in texts])
    assert found.groups[0] == found.groups[1] != found.groups[2]


def test_an_instruction_that_all_share_joins_nothing() -> None:
    instruction = Message("system", LONG)
    texts = ("Where is the depot?", "Who approves my leave?")
    found = deduplicate([Example(text, "It depends.", messages=(instruction, Message("user", text))) for text in texts])
    assert len(set(found.groups)) == 2


def test_another_instruction_makes_another_example() -> None:
    chat = [(Message("system", text), Message("user", "Hello")) for text in ("Be brief.", "Be rude.")]
    assert len(deduplicate([Example(str(index), "Hi", messages=each) for index, each in enumerate(chat)]).examples) == 2


def test_writing_without_spaces_is_compared_by_its_characters() -> None:
    first, second = shingles("保証期間は三十六か月です"), shingles("保証期間は三十六か月ですね")
    assert len(first) > 5
    assert list(near_pairs({0: first, 1: second}, 0.8)) == [(0, 1)]


def test_texts_without_words_are_no_partners() -> None:
    assert list(near_pairs({0: shingles("!!!"), 1: shingles("???")}, 0.85)) == []
    assert len(kept(prompt("a", "🙂", "🙂"), prompt("b", "🙃", "🙃"))) == 2
