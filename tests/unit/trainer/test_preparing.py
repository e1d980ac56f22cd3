from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.chassis.errors import Unavailable
from services.trainer.domain import DONT_KNOW, Example, Message, Passage, TrainingFailed
from services.trainer.ports import CitedText, RenderedPrompt
from services.trainer.preparing import Prepared, prepare

WARRANTY = Passage("The warranty is 36 months.", "W", "https://x/w.md#a", (), "corpora/c/documents/w/chunks/1")
DEPOT = Passage("The depot is in Pellmoor.", "D", "https://x/d.md#b", (), "corpora/c/documents/d/chunks/1")


class Serving:
    """A generator that supports words of a passage."""

    def __init__(self, shown: int = 5, knows_tokens: bool = True, busy: int = 0) -> None:
        self.shown = shown
        self.knows_tokens = knows_tokens
        self.busy = busy

    async def render_question(self, question: str, passages: Sequence[Passage]) -> RenderedPrompt:
        if self.busy:
            self.busy -= 1
            raise Unavailable("Busy.", retry_after_seconds=0.001)
        ids = tuple(range(10 + len(passages))) if self.knows_tokens else ()
        return RenderedPrompt((), ids, min(self.shown, len(passages)))

    async def render_chat(self, messages: Sequence[Message]) -> RenderedPrompt:
        return RenderedPrompt(tuple(messages), (1, 2, 3))

    async def cite(self, question: str, passages: Sequence[Passage], text: str) -> CitedText:
        for number, passage in enumerate(passages, start=1):
            if text in passage.text:
                return CitedText(f"{text} [{number}]", False, ((number, passage.uri, passage.name),))
        return CitedText(DONT_KNOW, True)


class Documents:
    """A retriever that finds what it is given."""

    def __init__(self, *found: Passage, gone: tuple[str, ...] = ()) -> None:
        self.found = found
        self.gone = gone

    async def search(self, corpus: str, query: str, limit: int) -> tuple[Passage, ...]:
        assert (corpus, limit) == ("corpora/c", 4)
        return self.found

    async def existing(self, names: Sequence[str]) -> dict[str, Passage]:
        return {name: Passage("", name=name) for name in names if name not in self.gone}


class Spelling:
    """A token a character, and one at the end."""

    def encode(self, text: str) -> tuple[int, ...]:
        return (*map(ord, text), 0)


def read(prepared: Prepared) -> list[str]:
    return ["".join(map(chr, sample.response_ids[:-1])) for _, sample in prepared.samples]


async def prepared(*examples: Example, generator: Serving | None = None, retriever: Documents | None = None, most: int = 1000) -> Prepared:
    return await prepare(
        examples,
        generator or Serving(),  # type: ignore[arg-type]
        retriever or Documents(WARRANTY, DEPOT),  # type: ignore[arg-type]
        Spelling(),
        most,
        lambda done, total: None,
    )


def question(answer: str, name: str = "q", **given: object) -> Example:
    given = {"corpus": "corpora/c", **given}
    return Example(name, answer, question="How long is the warranty?", **given)  # type: ignore[arg-type]


async def test_a_supported_answer_gets_the_markers_that_serving_sets() -> None:
    found = await prepared(question("36 months"))
    assert read(found) == ["36 months [1]"]
    assert found.samples[0][1].prompt_ids == tuple(range(12))
    assert found.passages_by_example == {"q": (WARRANTY, DEPOT)}


async def test_passages_that_are_given_are_not_searched_for() -> None:
    found = await prepared(question("36 months", passages=(DEPOT, WARRANTY), corpus=""), retriever=Documents())
    assert read(found) == ["36 months [2]"]


async def test_an_unanswerable_question_is_not_known() -> None:
    assert read(await prepared(question("36 months", answerable=False))) == [DONT_KNOW]


async def test_a_question_whose_source_was_not_found_is_not_known_either() -> None:
    found = await prepared(question("36 months", sources=("w.md#a",)), retriever=Documents(DEPOT))
    assert read(found) == [DONT_KNOW]
    assert found.refused_for_missing_source == 1
    assert found.unsupported == 0


async def test_a_passage_that_did_not_fit_into_the_prompt_is_not_cited() -> None:
    found = await prepared(question("in Pellmoor", sources=("d.md",)), generator=Serving(shown=1))
    assert read(found) == [DONT_KNOW]
    assert found.passages_by_example == {"q": (WARRANTY,)}


async def test_a_few_unsupported_answers_are_left_out() -> None:
    found = await prepared(question("36 months", "a"), question("nine lives", "b", sources=("w.md",)), question("36", "c"))
    assert [example.id for example, _ in found.samples] == ["a", "c"]
    assert (found.unsupported, found.kept_unsupported) == (1, False)


async def test_when_most_answers_are_unsupported_they_are_kept_as_they_are() -> None:
    found = await prepared(question("36 months", "a"), question("nine lives", "b"), question("seven seas", "c"))
    assert read(found) == ["36 months [1]", "nine lives", "seven seas"]
    assert (found.unsupported, found.kept_unsupported) == (2, True)


async def test_a_prompt_is_a_chat_and_its_answer_taken_as_it_is() -> None:
    chat = Example("p", "Hello [1]!", messages=(Message("user", "Hi"),))
    found = await prepared(chat)
    assert read(found) == ["Hello [1]!"]
    assert found.samples[0][1].prompt_ids == (1, 2, 3)


async def test_what_rests_on_a_document_that_is_gone_is_not_trained_on() -> None:
    given = [
        question("36 months", "a", chunks=(WARRANTY.name,)),
        question("36 months", "b", passages=(WARRANTY,)),
        question("36 months", "c"),
    ]
    found = await prepared(*given, retriever=Documents(WARRANTY, gone=(WARRANTY.name,)))
    assert [example.id for example, _ in found.samples] == ["c"]
    assert found.dropped_gone == 2


async def test_what_is_too_long_weighs_nothing_or_finds_nothing_is_counted_and_left_out() -> None:
    chat = (Message("user", "Hi"),)
    found = await prepared(Example("a", "x" * 50, messages=chat), Example("b", "x", messages=chat, score=0.0), most=20)
    assert (len(found.samples), found.too_long, found.weightless) == (0, 1, 1)
    found = await prepared(question("36 months"), retriever=Documents())
    assert (len(found.samples), found.no_passages, found.unsupported) == (0, 1, 0)


async def test_the_score_is_the_weight() -> None:
    chat = (Message("user", "Hi"),)
    found = await prepared(Example("a", "x", messages=chat), Example("b", "y", messages=chat, score=0.25))
    assert [sample.weight for _, sample in found.samples] == [1.0, 0.25]


async def test_the_order_is_that_of_the_examples() -> None:
    found = await prepared(*(question("36 months", f"q{number}") for number in range(150)))
    assert [example.id for example, _ in found.samples] == [f"q{number}" for number in range(150)]


async def test_a_busy_generator_is_asked_again() -> None:
    assert len((await prepared(question("36 months"), generator=Serving(busy=3))).samples) == 1
    with pytest.raises(Unavailable):
        await prepared(question("36 months"), generator=Serving(busy=100))


async def test_without_the_models_tokenizer_nothing_can_be_prepared() -> None:
    with pytest.raises(TrainingFailed, match="does not know its model's tokenizer"):
        await prepared(question("36 months"), generator=Serving(knows_tokens=False))
