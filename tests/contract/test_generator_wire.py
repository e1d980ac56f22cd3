"""The generator's contract, on a real process with a real engine and a real store."""

from __future__ import annotations

import time
import uuid

import grpc
import pytest
from generator_process import BATTERY, WARRANTY, RunningGenerator

from corella.errors import RpcFailure
from corella.v1 import generator_pb2 as pb
from corella.v1.generator_pb2_grpc import GeneratorServiceStub

ORDER = ["started", "passages", "delta", "citations", "completion", "memory"]
QUESTION = "How long is the warranty period of the Falcon X200?"


def asked(stub: GeneratorServiceStub, **fields: object) -> dict[str, list]:
    """All events of an answer by kind, in their order of arrival, which is checked."""
    request = pb.AskRequest(**{"question": QUESTION, "corpus": "corpora/manuals", **fields})
    kinds: list[str] = []
    events: dict[str, list] = {kind: [] for kind in ORDER}
    for response in stub.Ask(request, timeout=60):
        kind = response.WhichOneof("event")
        kinds.append(kind)
        events[kind].append(getattr(response, kind))
    assert kinds == sorted(kinds, key=ORDER.index)
    assert all(len(events[kind]) == 1 for kind in ORDER if kind != "delta")
    return events


def failure(call: object) -> RpcFailure:
    """What a call that must fail says."""
    with pytest.raises(grpc.RpcError) as caught:
        list(call() if callable(call) else call)
    return RpcFailure.from_rpc_error(caught.value)


def test_an_answer_streams_and_cites_the_passage_that_holds_it(generator_stub: GeneratorServiceStub) -> None:
    events = asked(generator_stub)
    started, found, cited = events["started"][0], events["passages"][0], events["citations"][0]
    assert started.standalone_question == QUESTION
    assert started.memory_state == pb.MEMORY_STATE_EMPTY
    assert len(started.trace_id) == 32
    assert [passage.name for passage in found.passages] == [WARRANTY.name, BATTERY.name]
    assert found.passages[0] == WARRANTY
    assert found.evidence.overlap_count == 1
    assert len(events["delta"]) > 3
    answer = cited.answer
    assert answer.name == started.answer
    assert "36 months" in answer.text
    assert not answer.refused
    citation = answer.citations[0]
    assert citation.uri == WARRANTY.uri
    assert citation.number == 1
    span = citation.spans[0]
    assert f"[{citation.number}]" in answer.text.encode()[span.start : span.end].decode()
    completion = events["completion"][0]
    assert completion.finish_reason == pb.FINISH_REASON_STOP
    assert completion.usage.prompt_tokens > 50
    assert completion.usage.completion_tokens > 3
    assert completion.usage.time_to_first_token.ToTimedelta() <= completion.usage.generation_duration.ToTimedelta()
    assert completion.model == "SmolLM2-135M-Instruct"
    memory = events["memory"][0]
    assert memory.summary_token
    assert memory.summary_token_expire_time.seconds > time.time() + 3600


def test_the_same_question_is_answered_from_the_prefix_cache(generator_stub: GeneratorServiceStub) -> None:
    asked(generator_stub, skip_memory=True)
    usage = asked(generator_stub, skip_memory=True)["completion"][0].usage
    assert usage.cached_prompt_tokens > usage.prompt_tokens / 2


def test_nothing_found_is_answered_without_the_model(generator_stub: GeneratorServiceStub) -> None:
    events = asked(generator_stub, corpus="corpora/empty", skip_memory=True)
    answer = events["citations"][0].answer
    assert (answer.text, answer.refused, answer.refusal_reason) == ("I do not know.", True, pb.REFUSAL_REASON_NO_PASSAGES)
    assert events["completion"][0].finish_reason == pb.FINISH_REASON_REFUSED
    assert events["completion"][0].usage.completion_tokens == 0
    assert not events["memory"][0].summary_token


def test_weak_evidence_is_answered_without_the_model(generator_stub: GeneratorServiceStub) -> None:
    events = asked(generator_stub, question="Who won the football match last night?", skip_memory=True)
    assert events["citations"][0].answer.refusal_reason == pb.REFUSAL_REASON_WEAK_EVIDENCE
    assert events["completion"][0].usage.completion_tokens == 0


def test_without_the_corpus_there_is_no_answer(generator_stub: GeneratorServiceStub) -> None:
    said = failure(generator_stub.Ask(pb.AskRequest(question="Why?", corpus="corpora/other"), timeout=30))
    assert (said.code, said.reason) == (grpc.StatusCode.NOT_FOUND, "CORPUS_NOT_FOUND")


def test_every_violation_of_a_question_is_named(generator_stub: GeneratorServiceStub) -> None:
    request = pb.AskRequest(
        question=" ",
        corpus="manuals",
        conversation="conversations/a b",
        summary_token=b"x",
        style=pb.AnswerStyle(tone="x" * 201),
        retrieval=pb.RetrievalOptions(passage_limit=6, refusal_threshold=1.5),
        generation=pb.GenerationOptions(max_tokens=2000, temperature=3, top_p=0),
    )
    said = failure(generator_stub.Ask(request, timeout=30))
    assert said.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {name for name, _ in said.violations} == {
        "question", "corpus", "conversation", "summary_token", "style.tone", "retrieval.passage_limit", "retrieval.refusal_threshold",
        "generation.max_tokens", "generation.temperature", "generation.top_p",
    }  # fmt: skip


def test_a_follow_up_knows_the_conversation(generator: RunningGenerator, generator_stub: GeneratorServiceStub) -> None:
    name = f"conversations/{uuid.uuid4().hex}"
    asked(generator_stub, conversation=name)
    events = asked(generator_stub, conversation=name, question="And how long does it take to charge?")
    assert events["started"][0].memory_state == pb.MEMORY_STATE_RECALLED
    assert "falcon" in generator.retriever.requests[-1].query.lower()
    assert events["memory"][0].state == pb.MEMORY_STATE_RECALLED
    assert events["memory"][0].budget.turn_count == 2
    kept = generator_stub.GetConversation(pb.GetConversationRequest(name=name), timeout=10).conversation
    assert [turn.question for turn in kept.turns] == [QUESTION, "And how long does it take to charge?"]
    assert kept.summary
    listed = generator_stub.ListConversations(pb.ListConversationsRequest(page_size=1), timeout=10)
    assert listed.conversations[0].name == name
    generator_stub.DeleteConversation(pb.DeleteConversationRequest(name=name), timeout=10)
    said = failure(lambda: generator_stub.GetConversation(pb.GetConversationRequest(name=name), timeout=10))
    assert said.reason == "CONVERSATION_NOT_FOUND"


def test_a_token_takes_the_place_of_the_conversation(generator: RunningGenerator, generator_stub: GeneratorServiceStub) -> None:
    token = asked(generator_stub)["memory"][0].summary_token
    events = asked(generator_stub, summary_token=token, question="And how long does it take to charge?")
    assert events["started"][0].memory_state == pb.MEMORY_STATE_RECALLED
    assert "falcon" in generator.retriever.requests[-1].query.lower()
    assert events["memory"][0].budget.turn_count == 2
    changed = bytes([token[0] ^ 1]) + token[1:]
    said = failure(generator_stub.Ask(pb.AskRequest(question="Why?", corpus="corpora/manuals", summary_token=changed), timeout=10))
    assert (said.code, said.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SUMMARY_TOKEN_INVALID")


def test_complete_continues_a_chat_and_says_when_it_is_too_long(generator_stub: GeneratorServiceStub) -> None:
    messages = [pb.ChatMessage(role=pb.CHAT_ROLE_USER, text="What is the capital of France?")]
    request = pb.CompleteRequest(messages=messages, generation=pb.GenerationOptions(max_tokens=24))
    responses = list(generator_stub.Complete(request, timeout=60))
    assert "Paris" in "".join(response.delta.text for response in responses[:-1])
    assert responses[-1].completion.usage.completion_tokens <= 24
    long = [pb.ChatMessage(role=pb.CHAT_ROLE_USER, text="word " * 3000)]
    said = failure(generator_stub.Complete(pb.CompleteRequest(messages=long), timeout=60))
    assert (said.code, said.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CONTEXT_TOO_LONG")


def test_turns_are_summarised_on_request(generator_stub: GeneratorServiceStub) -> None:
    turns = [pb.Turn(question=QUESTION, answer="The Falcon X200 has a warranty period of 36 months.")]
    response = generator_stub.Summarize(pb.SummarizeRequest(turns=turns, max_tokens=64), timeout=60)
    assert "warranty" in response.summary.lower()
    assert response.usage.completion_tokens <= 64


def test_feedback_is_kept_with_its_answer(generator_stub: GeneratorServiceStub) -> None:
    events = asked(generator_stub, skip_memory=True)
    name = events["started"][0].answer
    given = pb.Feedback(rating=pb.RATING_DOWN, corrected_text="36 months.", comment="Too long.")
    stored = generator_stub.CreateFeedback(pb.CreateFeedbackRequest(parent=name, feedback=given), timeout=10).feedback
    assert stored.name == f"{name}/feedback"
    records = generator_stub.ListFeedback(pb.ListFeedbackRequest(), timeout=10).records
    record = next(each for each in records if each.feedback.name == stored.name)
    assert record.question == QUESTION
    assert record.answer == events["citations"][0].answer
    assert list(record.passages) == [WARRANTY.name, BATTERY.name]
    assert record.trace_id == events["started"][0].trace_id
    unknown = pb.CreateFeedbackRequest(parent=f"answers/{'0' * 32}", feedback=given)
    assert failure(lambda: generator_stub.CreateFeedback(unknown, timeout=10)).reason == "ANSWER_NOT_FOUND"


def test_the_model_is_described(generator_stub: GeneratorServiceStub) -> None:
    model = generator_stub.GetGenerationModel(pb.GetGenerationModelRequest(), timeout=10).model
    assert (model.display_name, model.context_tokens, model.engine) == ("SmolLM2-135M-Instruct", 2048, "vllm")
