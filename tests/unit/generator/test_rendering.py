"""Rendering a prompt, and checking a text, as answers do it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

import pytest

from corella.v1 import generator_pb2 as pb
from corella.v1 import retriever_pb2
from services.chassis.errors import InvalidArgument
from services.generator import requests, responses
from services.generator.composing import Composing
from services.generator.domain import (
    ContextTooLong,
    Evidence,
    GenerationOptions,
    Message,
    Passage,
    RefusalReason,
    Style,
    TextChunk,
)
from services.generator.prompting import compose
from services.generator.refusal import DEFAULT_THRESHOLD, answerability
from services.generator.rendering import Rendering
from services.generator.settings import AnswerSettings

QUESTION = "How long is the warranty period of the Falcon X200?"
WARRANTY = Passage(
    "corpora/c/documents/d/chunks/1", "", "Falcon X200 manual", "https://x/f#w", ("Warranty",), "The warranty period is 36 months."
)
BATTERY = Passage("corpora/c/documents/e/chunks/1", "", "Falcon X200 battery", "https://x/f#b", (), "A full charge lasts 11 hours.")


class CountingEngine:
    """A word is a token; `render` numbers them."""

    kind = "told"
    server: ClassVar[dict[str, str | int]] = {}
    display_name = "told-1"
    special_tokens = ("<|im_start|>",)

    def __init__(self, context_tokens: int = 2048) -> None:
        self.context_tokens = context_tokens

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def count_prompt_tokens(self, messages: Sequence[Message]) -> int:
        return len(self.render(messages))

    def render(self, messages: Sequence[Message]) -> list[int]:
        return list(range(sum(self.count_tokens(each.text) for each in messages)))

    async def generate(self, messages: Sequence[Message], options: GenerationOptions, adapter: object = None) -> AsyncIterator[TextChunk]:
        raise AssertionError("nothing is written here")
        yield TextChunk("")


def rendering(context_tokens: int = 2048, **settings: object) -> Rendering:
    engine = CountingEngine(context_tokens)
    return Rendering(engine, Composing(engine, AnswerSettings(**settings)))  # type: ignore[arg-type]


async def test_a_question_is_rendered_as_answers_compose_it() -> None:
    found = await rendering(instruction="Use metric units.").question(QUESTION, [WARRANTY, BATTERY], Style(tone="friendly"))
    expected = compose(
        QUESTION,
        [WARRANTY, BATTERY],
        summary="",
        style=Style(tone="friendly"),
        deployment_instruction="Use metric units.",
        budget_tokens=1024,
        count_tokens=lambda text: len(text.split()),
        special_tokens=("<|im_start|>",),
    )
    assert found.messages == expected.messages
    assert len(found.token_ids) == sum(len(each.text.split()) for each in expected.messages)
    assert found.passage_count == 2
    assert found.answerability == answerability(QUESTION, [WARRANTY, BATTERY], Evidence())
    assert found.refusal_threshold == DEFAULT_THRESHOLD


async def test_passages_that_do_not_fit_are_not_counted() -> None:
    long = Passage("n", "", "Long", "u", (), "word " * 900)
    assert (await rendering(max_prompt_tokens=512).question(QUESTION, [WARRANTY, long], Style())).passage_count == 1


async def test_a_prompt_without_room_for_a_passage_is_too_long() -> None:
    with pytest.raises(ContextTooLong):
        await rendering(context_tokens=180).question(QUESTION, [WARRANTY], Style())


async def test_a_chat_is_rendered_as_it_is() -> None:
    chat = (Message("system", "Be brief."), Message("user", "How long is it?"))
    found = await rendering(refusal_threshold=0.5).chat(chat)
    assert found.messages == chat
    assert found.token_ids == tuple(range(6))
    assert (found.passage_count, found.answerability, found.refusal_threshold) == (0, 0.0, 0.5)


async def test_a_text_keeps_what_the_passages_support() -> None:
    found = await rendering().cite(QUESTION, [BATTERY, WARRANTY], "The warranty period is 36 months. Bananas are yellow.")
    assert found.text == "The warranty period is 36 months [2]."
    assert found.dropped_sentence_count == 1
    message = responses.cited(found).answer
    assert (message.name, message.refused) == ("", False)
    assert [citation.passage for citation in message.citations] == [WARRANTY.name]


async def test_a_text_nothing_supports_is_refused() -> None:
    found = await rendering().cite(QUESTION, [WARRANTY], "Bananas are yellow.")
    assert found.refusal_reason is RefusalReason.UNSUPPORTED
    assert responses.cited(found).answer.text == "I do not know."


def test_every_violation_of_a_question_with_passages_is_named() -> None:
    passages = [
        retriever_pb2.Passage(text=" "),
        retriever_pb2.Passage(text="x" * 16_001, title="t" * 4001),
        *[retriever_pb2.Passage(text="x")] * 4,
    ]
    given = pb.GroundedQuestion(question=" ", passages=passages, style=pb.AnswerStyle(tone="x" * 201))
    with pytest.raises(InvalidArgument) as caught:
        requests.render(pb.RenderPromptRequest(question=given))
    assert {field for field, _ in caught.value.violations} == {
        "question.question", "question.passages", "question.passages[0].text", "question.passages[1].text", "question.passages[1].title",
        "question.style.tone",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_message", "fields"),
    [
        (pb.RenderPromptRequest(), {"content"}),
        (pb.RenderPromptRequest(question=pb.GroundedQuestion(question="q")), {"question.passages"}),
        (pb.RenderPromptRequest(chat=pb.Chat()), {"chat.messages"}),
        (
            pb.RenderPromptRequest(chat=pb.Chat(messages=[pb.ChatMessage(text="x"), pb.ChatMessage(role=pb.CHAT_ROLE_ASSISTANT)])),
            {"chat.messages[0].role", "chat.messages"},
        ),
    ],
)
def test_a_prompt_that_is_none_is_refused(request_message: pb.RenderPromptRequest, fields: set[str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        requests.render(request_message)
    assert {field for field, _ in caught.value.violations} == fields


def test_every_violation_of_a_text_to_check_is_named() -> None:
    with pytest.raises(InvalidArgument) as caught:
        requests.cite(pb.CiteTextRequest(question="q" * 4001, text="x" * 16_001))
    assert {field for field, _ in caught.value.violations} == {"question", "passages", "text"}


def test_a_question_is_taken_without_blanks_around_it() -> None:
    given = pb.GroundedQuestion(
        question=" Why? ", passages=[retriever_pb2.Passage(text="x", title="t", uri="u", name="n", heading_path=["h"])]
    )
    content = requests.render(pb.RenderPromptRequest(question=given))
    assert content == requests.Grounded("Why?", (Passage("n", "", "t", "u", ("h",), "x"),), Style())
