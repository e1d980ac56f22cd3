"""Answers in Redis until they expire, and feedback on them, which stays.

Feedback carries a copy of its answer: it is what re-training learns from, long after the answer has expired.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from services.generator.domain import Answer, AnswerNotFound, AnswerRecord, Citation, Feedback, Rating, RefusalReason, Span
from services.generator.redis_gate import PREFIX, RedisGate

_INDEX = f"{PREFIX}feedback"
_RECORDS = f"{PREFIX}feedback:records"

# KEYS: answer, index, records. ARGV: answer's id, feedback as JSON, now in microseconds.
# Scores of the index are times made unique, so that a page can end between any two.
_PUT_FEEDBACK = """
local record = redis.call('GET', KEYS[1])
if not record then return 0 end
local newest = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
local now = tonumber(ARGV[3])
if newest[2] and tonumber(newest[2]) >= now then now = tonumber(newest[2]) + 1 end
redis.call('HSET', KEYS[3], ARGV[1], '[' .. ARGV[2] .. ',' .. record .. ']')
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1])
return 1
"""


class RedisAnswers:
    """The store of answers and feedback."""

    def __init__(self, gate: RedisGate, expiry_seconds: int) -> None:
        self._gate = gate
        self._expiry_seconds = expiry_seconds
        self._put_feedback = gate.client.register_script(_PUT_FEEDBACK)

    async def put(self, record: AnswerRecord) -> None:
        text = json.dumps(asdict(record), default=_plain)
        await self._gate.run(lambda redis: redis.set(_key(record.answer.id), text, ex=self._expiry_seconds))

    async def put_feedback(self, feedback: Feedback) -> None:
        keys = [_key(feedback.answer_id), _INDEX, _RECORDS]
        values: list[str | int] = [
            feedback.answer_id,
            json.dumps(asdict(feedback), default=_plain),
            int(feedback.create_time.timestamp() * 1e6),
        ]
        if not await self._gate.run(lambda _: self._put_feedback(keys=keys, args=values)):
            raise AnswerNotFound(feedback.answer_id)

    async def list_feedback(self, page_size: int, after: str) -> tuple[list[tuple[Feedback, AnswerRecord]], str]:
        lowest = f"({after}" if after else "-inf"
        entries = await self._gate.run(lambda redis: redis.zrangebyscore(_INDEX, lowest, "+inf", 0, page_size, withscores=True))
        if not entries:
            return [], ""
        texts = await self._gate.run(lambda redis: redis.hmget(_RECORDS, [answer_id for answer_id, _ in entries]))
        position = f"{entries[-1][1]:.0f}" if len(entries) == page_size else ""
        return [_load(text) for text in texts if text], position


def _key(answer_id: str) -> str:
    return f"{PREFIX}answer:{answer_id}"


def _plain(value: Any) -> Any:
    return value.timestamp() if isinstance(value, datetime) else value.value


def _load(text: str) -> tuple[Feedback, AnswerRecord]:
    given, record = json.loads(text)
    feedback = Feedback(
        answer_id=given["answer_id"],
        rating=Rating(given["rating"]),
        corrected_text=given["corrected_text"],
        comment=given["comment"],
        create_time=datetime.fromtimestamp(given["create_time"], UTC),
    )
    answer = record["answer"]
    reason = answer["refusal_reason"]
    return feedback, AnswerRecord(
        answer=Answer(
            id=answer["id"],
            text=answer["text"],
            citations=tuple(_citation(each) for each in answer["citations"]),
            refusal_reason=None if reason is None else RefusalReason(reason),
        ),
        question=record["question"],
        standalone_question=record["standalone_question"],
        passages=tuple(record["passages"]),
        corpus=record["corpus"],
        adapter=record["adapter"],
        trace_id=record["trace_id"],
    )


def _citation(fields: dict[str, Any]) -> Citation:
    spans = tuple(Span(**span) for span in fields["spans"])
    return Citation(**{**fields, "heading_path": tuple(fields["heading_path"]), "spans": spans})
