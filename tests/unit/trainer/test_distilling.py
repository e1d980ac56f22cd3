from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from services.chassis.errors import Unavailable
from services.trainer.answer_spans import Wanted, candidates_of, wanted
from services.trainer.distilling import distil
from services.trainer.domain import DONT_KNOW, CorpusSource, Example, Message, Passage
from services.trainer.facts import Fact, chosen, sentences, stated
from services.trainer.ports import CitedText
from services.trainer.question_writing import cleaned_answer, cleaned_question, leads_back, why_not

DEVICES = ("Arlo", "Birk", "Corin", "Dovel", "Esker", "Fenn", "Gorse", "Hedge")


def passage(device: str, number: int, text: str) -> Passage:
    return Passage(text, f"{device} sensor", f"https://x/{device}#{number}", ("Battery",), f"corpora/c/documents/{device}/chunks/{number}")


CORPUS = [
    passage(device, part, f"The {what} of the {device} lasts {10 + index} {unit}.")
    for index, device in enumerate(DEVICES)
    for part, (what, unit) in enumerate([("battery", "hours"), ("cable", "years")])
]


class Shelf:
    """A retriever that counts shared words."""

    async def search(self, corpus: str, query: str, limit: int) -> tuple[Passage, ...]:
        wanted_words = set(query.casefold().strip("?").split())
        return tuple(sorted(CORPUS, key=lambda each: -len(wanted_words & set(each.text.casefold().strip(".").split())))[:limit])

    async def chunks(self, corpus: str) -> AsyncIterator[Passage]:
        for each in CORPUS:
            yield each

    async def existing(self, names: Sequence[str]) -> dict[str, Passage]:
        return {each.name: each for each in CORPUS if each.name in names}


class Citing:
    """A generator that supports what stands in a passage about the device asked for."""

    async def cite(self, question: str, passages: Sequence[Passage], text: str) -> CitedText:
        for number, each in enumerate(passages, start=1):
            device = each.title.split()[0]
            if text.rstrip(".") in each.text and device in question:
                return CitedText(f"{text} [{number}].", False, ((number, each.uri, each.name),))
        return CitedText(DONT_KNOW, True)


class Scripted:
    """A teacher that writes what a good one would."""

    name = "scripted"

    def __init__(self, wrong: str = "") -> None:
        self.wrong = wrong
        self.calls = 0

    async def write(self, messages: Sequence[Message], max_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> str:
        self.calls += 1
        if self.calls == 1:
            raise Unavailable("The generator is busy.", retry_after_seconds=0.001)
        told = messages[-1].text
        sentence = told.split("Sentence: ")[1].split("\n")[0]
        if "\nQuestion: " in told:
            return sentence.split(" lasts ")[1]
        return self.wrong or f"{told.rsplit(': ', 1)[1]} does the {sentence.removeprefix('The ').split(' lasts ')[0]} last?\n\nAnswer:"


async def written(teacher: Scripted, **given: object) -> tuple[list[Example], dict[str, int], list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    source = CorpusSource("corpora/c", **given)  # type: ignore[arg-type]
    found = await distil(source, Citing(), Shelf(), teacher, lambda done, total: told.append((done, total)))  # type: ignore[arg-type]
    return list(found.examples), dict(found.reasons), told


async def test_examples_are_cited_questions_on_passages_of_all_documents() -> None:
    examples, _, told = await written(Scripted(), max_examples=8, unanswerable_share=0.25)
    assert len(examples) == 8
    assert {example.concept for example in examples} == {f"{device} sensor" for device in DEVICES}
    answerable = [example for example in examples if example.answerable]
    assert len(answerable) == 6
    for example in answerable:
        chunk = next(each for each in CORPUS if each.name == example.chunks[0])
        assert example.sources == (chunk.uri, chunk.name)
        assert example.answer in chunk.text
        assert example.answers == (chunk.text,)
        assert example.group == chunk.name.partition("/chunks/")[0]
        assert (example.corpus, example.passages, example.origin) == ("corpora/c", (), "corpus")
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] == 16


async def test_an_unanswerable_question_has_passages_but_none_that_holds_the_answer() -> None:
    examples, _, _ = await written(Scripted(), max_examples=8, unanswerable_share=0.5)
    unanswerable = [example for example in examples if not example.answerable]
    assert len(unanswerable) == 4
    for example in unanswerable:
        assert example.answer == DONT_KNOW
        assert 1 <= len(example.passages) <= 4
        assert example.chunks[0] not in {each.name for each in example.passages}
        assert set(example.chunks[1:]) == {each.name for each in example.passages}
        cited = await Citing().cite(
            example.question, example.passages, next(each.text for each in CORPUS if each.name == example.chunks[0])
        )
        assert cited.refused


async def test_the_same_seed_writes_the_same_and_another_seed_another_choice() -> None:
    first, _, _ = await written(Scripted(), max_examples=4)
    assert first == (await written(Scripted(), max_examples=4))[0]
    assert first != (await written(Scripted(), max_examples=4, seed=14))[0]


@pytest.mark.parametrize("wrong", ["Sure!", "How long does it last?", "Why does the moon shine so bright at night?", "The battery lasts?"])
async def test_what_a_bad_teacher_writes_is_refused(wrong: str) -> None:
    examples, reasons, _ = await written(Scripted(wrong), max_examples=4)
    assert examples == []
    assert sum(reasons.values()) == 16


FACT = Fact(passage("Arlo", 1, ""), "The battery of the Arlo lasts 14 hours.")


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("How long does the battery of the Arlo last?", ""),
        ("", "no question"),
        ("Does the battery of the Arlo last?", "no question"),
        ("What is the battery of the Arlo?", "another question"),
        ("How long is it?", "off topic"),
        ("How long does the sentence say the Arlo battery lasts?", "vague"),
        ("How long does the battery of the Birk last?", "invented"),
        ("How long does the battery of the Arlo 30 last?", "invented"),
        ("How long does the battery of the Arlo last if it lasts 14 hours?", "tells the answer"),
        ("How long does the battery of your grandmother walk around here?", "not grounded"),
    ],
)
def test_a_question_is_refused_for_a_reason(question: str, reason: str) -> None:
    assert why_not(question, FACT, Wanted("14 hours", "How long")) == reason


@pytest.mark.parametrize(
    ("given", "question"),
    [
        ("How long does it last?\nAnswer: 14", "How long does it last?"),
        ('Question: "what is it?"', "What is it?"),
        ("Sure. How long?", "How long?"),
        ("It lasts 14 hours.", ""),
    ],
)
def test_a_question_is_taken_out_of_what_was_written(given: str, question: str) -> None:
    assert cleaned_question(given) == question


def test_a_short_answer_is_words_of_the_sentence() -> None:
    assert cleaned_answer("14 hours.", FACT) == "14 hours"
    assert cleaned_answer('"14 HOURS"\nmore', FACT) == "14 hours"
    assert cleaned_answer("15 hours", FACT) == ""
    assert cleaned_answer("4 hours", FACT) == ""
    assert cleaned_answer(FACT.sentence, FACT) == ""
    assert cleaned_answer("", FACT) == ""


def test_a_question_leads_back_to_what_was_wanted() -> None:
    assert leads_back("14 hours", Wanted("about 14 hours", "How long"))
    assert not leads_back("the battery", Wanted("14 hours", "How long"))
    assert not leads_back("", Wanted("14 hours", "How long"))
    assert leads_back("", Wanted("", "How do I"))


@pytest.mark.parametrize(
    ("sentence", "answer", "begins"),
    [
        ("One charge lasts 95 hours.", "95 hours", "How long"),
        ("The list is valid from 1 February 2025.", "from 1 February 2025", "When"),
        ("A lunch costs £6.50.", "£6.50", "How much"),
        ("The mileage rate is 45p per mile.", "45p per mile", "How much"),
        ("It works up to 40 °C in the shade.", "up to 40 °C", "What"),
        ("A Standard account has 3 users.", "3 users", "How many"),
        ("Complaints go to the Head of Finance.", "Head of Finance", "What"),
        ("Hold the button down.", "", "How do I"),
        ("The Tolva 10 can be checked.", "", "What"),
        ("The OC-1 cradle lights up.", "", "What"),
    ],
)
def test_what_can_be_asked_for_is_found(sentence: str, answer: str, begins: str) -> None:
    first = wanted(sentence, "Tolva 10, OC-1")[0]
    assert (first.answer, first.begins) == (answer, begins)


def test_sentences_are_those_of_text_and_lists_without_tables_and_headings() -> None:
    text = "# Battery\nIt lasts 14 hours. The cell\nis an AA.\n\n- Charge it for e.g. 3 hours.\n| a | b |\n1. Press **OK**.\n> Note"
    assert sentences(text) == ["It lasts 14 hours.", "The cell is an AA.", "Charge it for e.g. 3 hours.", "Press OK."]


def test_sentences_with_numbers_come_first_and_those_that_lean_on_others_last() -> None:
    text = "It then goes to sleep for a while. The case is made of strong plastic. The battery of the Arlo lasts 14 hours. Is it so? Short."
    assert stated(passage("Arlo", 1, text)) == [
        "The battery of the Arlo lasts 14 hours.",
        "The case is made of strong plastic.",
        "It then goes to sleep for a while.",
    ]


async def test_documents_take_turns() -> None:
    found = await chosen(Shelf().chunks("c"), seed=1)
    assert {each.title for each in found[:8]} == {f"{device} sensor" for device in DEVICES}
    assert len(list(candidates_of(found))) == 16
