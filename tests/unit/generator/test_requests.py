"""Requests to what the service works with, and everything that is wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from corella.v1 import generator_pb2 as pb
from corella.v1 import retriever_pb2
from services.chassis import page_token
from services.chassis.errors import InvalidArgument
from services.generator import requests
from services.generator.domain import GenerationOptions, Message, Rating
from services.generator.events import Ask, Condition, Retrieval

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def violations(request: object, read: object) -> set[str]:
    """The fields a request is refused for."""
    with pytest.raises(InvalidArgument) as caught:
        read(request)  # type: ignore[operator]
    return {field for field, _ in caught.value.violations}


def test_a_bare_question_gets_the_defaults() -> None:
    assert requests.ask(pb.AskRequest(question=" Why? ", corpus="corpora/c")) == Ask("Why?", "corpora/c")


def test_everything_given_arrives() -> None:
    condition = retriever_pb2.MetadataCondition(key="product", any_of=["a", "b"], negate=True)
    request = pb.AskRequest(
        question="Why?",
        corpus="corpora/my-corpus",
        conversation="conversations/A_b-1",
        retrieval=pb.RetrievalOptions(
            mode=retriever_pb2.SEARCH_MODE_KEYWORD,
            fusion=retriever_pb2.FUSION_RECIPROCAL_RANK,
            filter=[condition],
            passage_limit=3,
            refusal_threshold=0.0,
        ),
        generation=pb.GenerationOptions(max_tokens=5, temperature=0.5, top_p=0.25, seed=0),
        skip_memory=True,
    )
    ask = requests.ask(request)
    assert ask.conversation_id == "A_b-1"
    assert ask.retrieval == Retrieval("keyword", "reciprocal_rank", (Condition("product", ("a", "b"), True),), 3, 0.0)
    assert ask.options == GenerationOptions(5, 0.5, 0.25, 0)
    assert ask.skip_memory


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"question": ""}, "question"),
        ({"question": "x" * 4001}, "question"),
        ({"corpus": ""}, "corpus"),
        ({"corpus": "corpora/Big"}, "corpus"),
        ({"corpus": "corpora/c\n"}, "corpus"),
        ({"conversation": "conversations/" + "x" * 65}, "conversation"),
        ({"conversation": "c"}, "conversation"),
        ({"conversation": "conversations/c", "summary_token": b"x"}, "summary_token"),
        ({"summary_token": b"x" * 70_000}, "summary_token"),
        ({"retrieval": pb.RetrievalOptions(mode=99)}, "retrieval.mode"),  # type: ignore[arg-type]
        ({"retrieval": pb.RetrievalOptions(fusion=99)}, "retrieval.fusion"),  # type: ignore[arg-type]
        ({"retrieval": pb.RetrievalOptions(passage_limit=-1)}, "retrieval.passage_limit"),
        ({"retrieval": pb.RetrievalOptions(refusal_threshold=float("nan"))}, "retrieval.refusal_threshold"),
        ({"retrieval": pb.RetrievalOptions(filter=[retriever_pb2.MetadataCondition(key="a b")])}, "retrieval.filter[0].key"),
        ({"style": pb.AnswerStyle(instructions="x" * 1001)}, "style.instructions"),
        ({"generation": pb.GenerationOptions(max_tokens=-1)}, "generation.max_tokens"),
        ({"generation": pb.GenerationOptions(temperature=float("inf"))}, "generation.temperature"),
        ({"generation": pb.GenerationOptions(top_p=float("nan"))}, "generation.top_p"),
    ],
)
def test_a_question_is_refused_for(fields: dict, field: str) -> None:
    assert violations(pb.AskRequest(**{"question": "Why?", "corpus": "corpora/c", **fields}), requests.ask) == {field}


@pytest.mark.parametrize("name", ["", "base", "adapters/default/versions/20260101-abc"])
def test_an_adapter_is_named_by_its_version(name: str) -> None:
    assert requests.ask(pb.AskRequest(question="Why?", corpus="corpora/c", adapter=name)).adapter == name


@pytest.mark.parametrize(
    "name", ["default", "adapters/default", "adapters/../versions/v1", "adapters/a/versions/../x", "adapters/A/versions/1"]
)
def test_nothing_else_names_an_adapter(name: str) -> None:
    assert violations(pb.AskRequest(question="Why?", corpus="corpora/c", adapter=name), requests.ask) == {"adapter"}


def test_a_text_to_score_is_no_longer_than_an_answer_may_be() -> None:
    chat = [pb.ChatMessage(role=pb.CHAT_ROLE_USER, text="Hello.")]
    assert requests.score(pb.ScoreTextRequest(messages=chat, text="Hi.", adapter="base")) == ((Message("user", "Hello."),), "Hi.", "base")
    assert violations(pb.ScoreTextRequest(), requests.score) == {"messages", "text"}
    assert violations(pb.ScoreTextRequest(messages=chat, text="x" * 16_001, adapter="x"), requests.score) == {"text", "adapter"}


def test_a_chat_ends_with_the_person() -> None:
    chat = [pb.ChatMessage(role=pb.CHAT_ROLE_SYSTEM, text="Be brief."), pb.ChatMessage(role=pb.CHAT_ROLE_USER, text="Hello.")]
    messages, options, adapter = requests.complete(pb.CompleteRequest(messages=chat))
    assert messages == (Message("system", "Be brief."), Message("user", "Hello."))
    assert (options, adapter) == (GenerationOptions(), "")
    assert violations(pb.CompleteRequest(messages=chat[:1]), requests.complete) == {"messages"}
    assert violations(pb.CompleteRequest(), requests.complete) == {"messages"}
    assert violations(pb.CompleteRequest(messages=[pb.ChatMessage(text="x"), *chat]), requests.complete) == {"messages[0].role"}


def test_feedback_says_something_about_an_answer() -> None:
    name = f"answers/{'a' * 32}"
    given = requests.feedback(pb.CreateFeedbackRequest(parent=name, feedback=pb.Feedback(rating=pb.RATING_UP)), NOW)
    assert (given.answer_id, given.rating, given.create_time) == ("a" * 32, Rating.UP, NOW)
    assert violations(pb.CreateFeedbackRequest(parent=name), lambda request: requests.feedback(request, NOW)) == {"feedback"}
    odd = pb.CreateFeedbackRequest(parent="answers/1", feedback=pb.Feedback(rating=7, comment="x" * 4001))  # type: ignore[arg-type]
    assert violations(odd, lambda request: requests.feedback(request, NOW)) == {"parent", "feedback.rating", "feedback.comment"}


def test_turns_to_summarise_have_limits() -> None:
    assert violations(pb.SummarizeRequest(), requests.summarize) == {"turns"}
    assert violations(pb.SummarizeRequest(turns=[pb.Turn()], max_tokens=513), requests.summarize) == {"turns[0].question", "max_tokens"}
    assert requests.summarize(pb.SummarizeRequest(turns=[pb.Turn(question="Why?")]))[2] == 128


def test_a_page_token_of_another_listing_or_making_is_refused() -> None:
    assert requests.position("", "feedback") == ""
    assert requests.position(page_token.encode("17", "feedback"), "feedback") == "17"
    for token in (page_token.encode("17", "conversations"), page_token.encode("(17", "feedback"), "x"):
        with pytest.raises(InvalidArgument):
            requests.position(token, "feedback")
