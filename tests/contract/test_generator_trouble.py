"""What the generator does when something is too much, gone or dead; on real processes."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
import pytest
from generator_process import RunningGenerator, running_generator, wait_until_serving

from corella.errors import RpcFailure
from corella.v1 import generator_pb2 as pb
from corella.v1.generator_pb2_grpc import GeneratorServiceStub
from tests.waiting import until

QUESTION = "How long is the warranty period of the Falcon X200?"
# Counting, with the likeliest token each time: a text that is sampled ends early on one processor and not on another.
LONG = pb.CompleteRequest(
    messages=[pb.ChatMessage(role=pb.CHAT_ROLE_USER, text="Count from 1 to 1000, every number on its own line: 1, 2, 3")],
    generation=pb.GenerationOptions(max_tokens=1024, temperature=0),
)


def test_clients_that_leave_stop_the_model_and_too_many_are_told_to_come_back(generator_stub: GeneratorServiceStub) -> None:
    """The engine writes four texts at once and four wait. Eight long ones would keep it busy for minutes if leaving did not end them.

    Twelve are sent, and those told to come back are what shows that it is full: how soon a text ends by itself differs between processors.
    """
    calls = [generator_stub.Complete(LONG, timeout=100) for _ in range(12)]
    until(lambda: any(map(_was_refused, calls)), 10)
    for refused in filter(_was_refused, calls):
        said = RpcFailure.from_rpc_error(refused)
        assert said.reason == "QUEUE_FULL"
        assert said.retry_after_seconds is not None

    for call in calls:
        call.cancel()
    left = time.monotonic()
    short = pb.CompleteRequest(messages=LONG.messages, generation=pb.GenerationOptions(max_tokens=1))
    until(lambda: _is_taken(generator_stub, short), 1)
    assert time.monotonic() - left < 3


def _was_refused(call: grpc.Call) -> bool:
    return not call.is_active() and call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def _is_taken(stub: GeneratorServiceStub, request: pb.CompleteRequest) -> bool:
    """Whether the call is answered, and not told to come back."""
    try:
        list(stub.Complete(request, timeout=30))
    except grpc.RpcError as error:
        said = RpcFailure.from_rpc_error(error)
        assert said.reason == "QUEUE_FULL"
        return False
    return True


def test_an_answer_whose_client_leaves_is_not_written_to_its_end(generator_stub: GeneratorServiceStub) -> None:
    request = pb.AskRequest(
        question=QUESTION,
        corpus="corpora/manuals",
        style=pb.AnswerStyle(instructions="Write at least ten long paragraphs."),
        generation=pb.GenerationOptions(max_tokens=1024, temperature=1.5, seed=3),
        conversation=f"conversations/{uuid.uuid4().hex}",
    )
    call = generator_stub.Ask(request, timeout=60)
    assert any(response.WhichOneof("event") == "delta" for response in call)
    call.cancel()
    time.sleep(1)
    # A turn that was broken off is not remembered, so nothing went on behind the client's back.
    with pytest.raises(grpc.RpcError) as caught:
        generator_stub.GetConversation(pb.GetConversationRequest(name=request.conversation), timeout=10)
    assert RpcFailure.from_rpc_error(caught.value).reason == "CONVERSATION_NOT_FOUND"


def test_many_turns_at_once_in_one_conversation_lose_nothing(generator_stub: GeneratorServiceStub) -> None:
    name = f"conversations/{uuid.uuid4().hex}"

    def ask(number: int) -> None:
        request = pb.AskRequest(question=f"Question {number}?", corpus="corpora/empty", conversation=name)
        assert list(generator_stub.Ask(request, timeout=60))[-1].memory.state == pb.MEMORY_STATE_RECALLED

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(300)))
    kept = generator_stub.GetConversation(pb.GetConversationRequest(name=name), timeout=10).conversation
    assert sorted(turn.question for turn in kept.turns) == sorted(f"Question {number}?" for number in range(300))
    assert kept.budget.turn_count == 300
    assert kept.budget.exhausted


def test_a_store_that_hangs_degrades_the_memory_and_not_the_answer(
    generator: RunningGenerator, generator_stub: GeneratorServiceStub
) -> None:
    request = pb.AskRequest(question=QUESTION, corpus="corpora/manuals", conversation=f"conversations/{uuid.uuid4().hex}")
    list(generator_stub.Ask(request, timeout=60))
    store = generator.valkey.client().info("server")["process_id"]
    os.kill(store, signal.SIGSTOP)
    try:
        asked = time.monotonic()
        events = {response.WhichOneof("event"): response for response in generator_stub.Ask(request, timeout=60)}
        assert events["started"].started.memory_state == pb.MEMORY_STATE_DEGRADED
        assert "36 months" in events["citations"].citations.answer.text
        assert events["memory"].memory.state == pb.MEMORY_STATE_DEGRADED
        assert events["memory"].memory.summary_token
        assert time.monotonic() - asked < 15
        with pytest.raises(grpc.RpcError) as caught:
            generator_stub.GetConversation(pb.GetConversationRequest(name=request.conversation), timeout=10)
        said = RpcFailure.from_rpc_error(caught.value)
        assert (said.code, said.reason) == (grpc.StatusCode.UNAVAILABLE, "MEMORY_UNAVAILABLE")
    finally:
        os.kill(store, signal.SIGCONT)

    def recalled() -> bool:
        return next(iter(generator_stub.Ask(request, timeout=60))).started.memory_state == pb.MEMORY_STATE_RECALLED

    until(recalled, 10)


def test_without_a_model_it_says_so_and_ends(tmp_path: Path) -> None:
    with running_generator(tmp_path, CORELLA_GENERATOR_VLLM__MODEL_FOLDER=str(tmp_path / "nothing")) as running:
        assert running.process.wait(60) == 1
        said = json.loads(running.log.read_text().splitlines()[-1])
    assert (said["event"], said["level"]) == ("not_started", "error")
    assert said["problem"].startswith(f"{tmp_path / 'nothing'} holds no model")


@pytest.mark.slow
def test_killed_while_it_starts_it_leaves_no_process_behind(tmp_path: Path) -> None:
    """Slow: the engine's processes must be there before it is killed."""
    with running_generator(tmp_path) as running:
        parent = psutil.Process(running.process.pid)
        until(lambda: any(child.name().startswith("VLLM::EngineCor") for child in parent.children(recursive=True)), 100)
        children = parent.children(recursive=True)
        running.process.kill()
        until(lambda: not any(_lives(child) for child in children), 5)


@pytest.mark.slow
def test_it_ends_with_a_failure_when_its_engine_dies(tmp_path: Path) -> None:
    """Slow: a generator of its own has to load the engine first."""
    with running_generator(tmp_path) as running, grpc.insecure_channel(running.address) as channel:
        wait_until_serving(running.process, channel, running.log)
        call = GeneratorServiceStub(channel).Complete(LONG, timeout=60)
        next(iter(call))
        engine = next(
            child for child in psutil.Process(running.process.pid).children(recursive=True) if child.name().startswith("VLLM::EngineCor")
        )
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        said = RpcFailure.from_rpc_error(caught.value)
        assert (said.code, said.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_UNAVAILABLE")
        assert running.process.wait(20) == 1


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
