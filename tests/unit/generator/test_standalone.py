"""Follow-ups stand alone, and new topics are told."""

from __future__ import annotations

import pytest

from services.generator.domain import Turn
from services.generator.standalone import answered_question, search_query, standalone_question, topic_changed

WARRANTY = Turn("How long is the warranty of the Brask Hub?", "The warranty of the Brask Hub is 18 months.")


@pytest.mark.parametrize(
    ("question", "held"),
    [
        ("How long does it last without power?", {"warranty", "Brask", "Hub"}),
        ("Why?", {"warranty", "Brask", "Hub"}),
        ("And when does it begin?", {"warranty", "Brask", "Hub"}),
        ("Can the warranty be extended?", {"Brask", "Hub"}),
    ],
)
def test_a_follow_up_gets_the_words_it_leaves_out(question: str, held: set[str]) -> None:
    alone = standalone_question(question, "", [WARRANTY])
    assert alone.startswith(question)
    assert held <= set(alone.replace("(", " ").replace(")", " ").split())


def test_another_name_takes_the_place_of_the_earlier_one() -> None:
    alone = standalone_question("And of the Ondel L5?", "", [WARRANTY])
    assert "warranty" in alone
    assert "Brask" not in alone


def test_a_chain_of_follow_ups_keeps_what_it_began_with() -> None:
    turns = [WARRANTY]
    for question in ("And of the Ondel L5?", "And of the Murrow S?", "And of the Tolva 20?"):
        alone = standalone_question(question, "", turns)
        turns.append(Turn(question, "It is 36 months.", alone))
    assert "warranty" in turns[-1].standalone_question


@pytest.mark.parametrize(
    "question", ["What is the highest hotel rate per night in London?", "Who is the head of the laboratory in Stowbeck?"]
)
def test_a_question_that_stands_alone_is_not_touched(question: str) -> None:
    assert standalone_question(question, "", [WARRANTY]) == question
    assert search_query(question, question) == question


@pytest.mark.parametrize("question", ["How long does it last?", "Why?", "And of the Ondel L5?"])
def test_a_first_question_is_never_touched(question: str) -> None:
    assert standalone_question(question, "", []) == question


def test_without_turns_the_summary_serves() -> None:
    assert "Brask" in standalone_question("How long does it last?", "The user asked about the Brask Hub.", [])


def test_what_is_added_is_bounded() -> None:
    long = Turn(" ".join(f"word{number}" for number in range(500)) + "?", "Yes.")
    assert len(standalone_question("Why is it so?", "", [long]).split()) <= 4 + 12


def test_what_was_added_counts_less_than_the_question_in_the_search() -> None:
    alone = standalone_question("How long does it last?", "", [WARRANTY])
    assert search_query("How long does it last?", alone).count("last") == 2


def test_a_question_with_nothing_in_common_changes_the_topic() -> None:
    assert topic_changed("What is the highest hotel rate per night in London?", [WARRANTY], "")


@pytest.mark.parametrize("question", ["How long does it last?", "And in London?", "Can the warranty be extended by registration?"])
def test_a_follow_up_does_not_change_the_topic(question: str) -> None:
    assert not topic_changed(question, [WARRANTY], "")


def test_a_first_question_does_not_change_the_topic() -> None:
    assert not topic_changed("What is the highest hotel rate per night in London?", [], "")


def test_a_near_question_in_other_words_does_not_change_the_topic() -> None:
    assert not topic_changed("What is the guarantee period of gateway boxes?", [WARRANTY], "", similarity=0.7)


@pytest.mark.parametrize(
    ("question", "earlier", "asked"),
    [
        ("How long is its warranty?", "Which depths does the Murrow Deep measure at?", "How long is its warranty? (Murrow Deep)"),
        ("And abroad?", "What is the hotel limit in London?", "And abroad? (hotel limit London)"),
        ("How long is the warranty of the Ondel L5?", "Which depths does the Murrow Deep measure at?", None),
    ],
)
def test_the_model_is_asked_the_question_with_the_names_it_leans_on(question: str, earlier: str, asked: str | None) -> None:
    standalone = standalone_question(question, "", [Turn(earlier, "10 cm.")])
    assert answered_question(question, standalone) == (asked or question)
