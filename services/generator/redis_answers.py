"""Answers in Redis until they expire, and feedback on them, which stays; each tenant's under keys of its own.

Feedback carries a copy of its answer: it is what re-training learns from, long after the answer has expired.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from redis.asyncio import Redis

from services.chassis.identity import DEFAULT_TENANT
from services.chassis.redis_spans import name_scripts
from services.generator.domain import Answer, AnswerNotFound, AnswerRecord, Citation, Feedback, Rating, RefusalReason, Span, Traces
from services.generator.redis_gate import PREFIX, RedisGate
from services.generator.redis_stems import NOTING, STEMMING, tenant_prefix

# KEYS: answer. ARGV: its record as JSON, expiry in seconds, tenant, record, now in seconds.
_PUT = f"""{NOTING}
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
local record = cjson.decode(ARGV[1])
local expires = string.format('%.0f', tonumber(ARGV[5]) + tonumber(ARGV[2]))
note(ARGV[3], ARGV[4], expires, record.passages)
note(ARGV[3], ARGV[4], expires, record.sources)
return 1
"""
# KEYS: answer, index, records. ARGV: answer's id, feedback as JSON, now in microseconds, tenant, record.
# Scores of the index are times made unique, so that a page can end between any two. Returns the answer's `traceparent`.
_PUT_FEEDBACK = f"""{NOTING}
local text = redis.call('GET', KEYS[1])
if not text then return false end
local newest = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
local now = tonumber(ARGV[3])
if newest[2] and tonumber(newest[2]) >= now then now = tonumber(newest[2]) + 1 end
redis.call('HSET', KEYS[3], ARGV[1], '[' .. ARGV[2] .. ',' .. text .. ']')
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1])
local record = cjson.decode(text)
note(ARGV[4], ARGV[5], '+inf', record.passages)
note(ARGV[4], ARGV[5], '+inf', record.sources)
return record.traceparent or ''
"""
# KEYS: answer, index, records. ARGV: names of chunks or documents as JSON, tenant, record, answer's id, 1 to take out what stems from one
# of them or 0 to count it. The answer or the feedback, whichever `record` names; returns whether it stems from one of them.
_FORGET = f"""{STEMMING}
going(ARGV[1])
local feedback = string.sub(ARGV[3], 1, 9) == 'feedback:'
local text
if feedback then text = redis.call('HGET', KEYS[3], ARGV[4]) else text = redis.call('GET', KEYS[1]) end
local found = 0
if text then
  local record = cjson.decode(text)
  if feedback then record = record[2] end
  if stems(record.passages) or stems(record.sources) then found = 1 end
end
if ARGV[5] == '0' then return found end
if found == 1 and feedback then
  redis.call('HDEL', KEYS[3], ARGV[4])
  redis.call('ZREM', KEYS[2], ARGV[4])
elseif found == 1 then
  redis.call('DEL', KEYS[1])
end
unnote(ARGV[2], ARGV[3])
return found
"""

# KEYS: answer, records. ARGV: answer's id, tenant, now in seconds. Notes an answer and feedback on it, as far as they are there.
_NOTE = f"""{NOTING}
local function note_all(record, text, expires)
  if not text then return end
  local kept = cjson.decode(text)
  if kept[2] then kept = kept[2] end
  note(ARGV[2], record .. ':' .. ARGV[1], expires, kept.passages)
  note(ARGV[2], record .. ':' .. ARGV[1], expires, kept.sources)
end
note_all('answer', redis.call('GET', KEYS[1]), string.format('%.0f', tonumber(ARGV[3]) + redis.call('TTL', KEYS[1]) + 1))
note_all('feedback', redis.call('HGET', KEYS[2], ARGV[1]), '+inf')
return 1
"""
_OLDER_NOTED = f"{PREFIX}stems:older"


class RedisAnswers:
    """The store of answers and feedback."""

    def __init__(self, gate: RedisGate, expiry_seconds: int) -> None:
        self._gate = gate
        self._expiry_seconds = expiry_seconds
        self._put = gate.client.register_script(_PUT)
        self._note = gate.client.register_script(_NOTE)
        self._forget = gate.client.register_script(_FORGET)
        self._put_feedback = gate.client.register_script(_PUT_FEEDBACK)
        name_scripts({
            "put answer": self._put, "note answer": self._note, "forget answer": self._forget, "put feedback": self._put_feedback,
        })  # fmt: skip

    async def put(self, tenant: str, record: AnswerRecord) -> None:
        text = json.dumps(asdict(record), default=_plain)
        values: list[str | int] = [text, self._expiry_seconds, tenant, f"answer:{record.answer.id}", int(time.time())]
        await self._gate.run(lambda _: self._put(keys=[_key(tenant, record.answer.id)], args=values))

    async def put_feedback(self, tenant: str, feedback: Feedback) -> str:
        keys = [_key(tenant, feedback.answer_id), _index(tenant), _records(tenant)]
        values: list[str | int] = [
            feedback.answer_id,
            json.dumps(asdict(feedback), default=_plain),
            int(feedback.create_time.timestamp() * 1e6),
            tenant,
            f"feedback:{feedback.answer_id}",
        ]
        traceparent = await self._gate.run(lambda _: self._put_feedback(keys=keys, args=values))
        if traceparent is None:
            raise AnswerNotFound(feedback.answer_id)
        return str(traceparent)

    async def list_feedback(self, tenant: str, page_size: int, after: str) -> tuple[list[tuple[Feedback, AnswerRecord]], str]:
        lowest = f"({after}" if after else "-inf"
        entries = await self._gate.run(lambda redis: redis.zrangebyscore(_index(tenant), lowest, "+inf", 0, page_size, withscores=True))
        if not entries:
            return [], ""
        texts = await self._gate.run(lambda redis: redis.hmget(_records(tenant), [answer_id for answer_id, _ in entries]))
        position = f"{entries[-1][1]:.0f}" if len(entries) == page_size else ""
        return [_load(text) for text in texts if text], position

    async def forget(self, tenant: str, record: str, gone: Collection[str]) -> Traces:
        return await self._stemming(tenant, record, gone, 1)

    async def count(self, tenant: str, record: str, gone: Collection[str]) -> Traces:
        return await self._stemming(tenant, record, gone, 0)

    async def note_older(self) -> None:
        if await self._gate.run(lambda redis: redis.exists(_OLDER_NOTED)):
            return
        cursor = 0
        while True:
            # Those versions had no tenants.
            cursor, found = await self._gate.run(partial(_some_feedback, cursor))
            await self._note_each(found)
            if not cursor:
                break
        while True:
            cursor, found = await self._gate.run(partial(_some_answers, cursor))
            await self._note_each(found)
            if not cursor:
                break
        await self._gate.run(lambda redis: redis.set(_OLDER_NOTED, 1))

    async def _note_each(self, answer_ids: list[str]) -> None:
        for each in answer_ids:
            keys, values = [_key(DEFAULT_TENANT, each), _records(DEFAULT_TENANT)], [each, DEFAULT_TENANT, int(time.time())]
            await self._gate.run(partial(_run, self._note, keys, values))

    async def _stemming(self, tenant: str, record: str, gone: Collection[str], take_out: int) -> Traces:
        kind, _, answer_id = record.partition(":")
        keys = [_key(tenant, answer_id), _index(tenant), _records(tenant)]
        found = await self._gate.run(
            lambda _: self._forget(keys=keys, args=[json.dumps(sorted(gone)), tenant, record, answer_id, take_out])
        )
        return Traces(feedback=found) if kind == "feedback" else Traces(answers=found)


async def _some_feedback(cursor: int, redis: Redis) -> tuple[int, list[str]]:
    """Ids of some answers that have feedback, and where to go on; 0: nowhere."""
    position, found = await redis.hscan(_records(DEFAULT_TENANT), cursor, count=100)  # type: ignore[misc]
    return int(position), [str(each) for each in found]


async def _some_answers(cursor: int, redis: Redis) -> tuple[int, list[str]]:
    """Ids of some answers, and where to go on; 0: nowhere."""
    prefix = _key(DEFAULT_TENANT, "")
    position, found = await redis.scan(cursor, match=f"{prefix}*", count=1000)
    return int(position), [str(key).removeprefix(prefix) for key in found]


async def _run(script: Any, keys: list[str], values: list[Any], _: Redis) -> Any:
    return await script(keys=keys, args=values)


def _key(tenant: str, answer_id: str) -> str:
    return f"{tenant_prefix(tenant)}answer:{answer_id}"


def _index(tenant: str) -> str:
    return f"{tenant_prefix(tenant)}feedback"


def _records(tenant: str) -> str:
    return f"{tenant_prefix(tenant)}feedback:records"


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
        sources=tuple(record.get("sources", ())),
        traceparent=record.get("traceparent", ""),
    )


def _citation(fields: dict[str, Any]) -> Citation:
    spans = tuple(Span(**span) for span in fields["spans"])
    return Citation(**{**fields, "heading_path": tuple(fields["heading_path"]), "spans": spans})
