"""Conversations in Redis: a hash and a list of turns each, and one index by last use.

Every change is one script, so any number of replicas may change one conversation at once. Expiry is the store's own; the index is
swept of what has expired whenever a turn is added.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

from redis.asyncio import Redis

from services.generator.domain import Conversation, ConversationNotFound, MemoryState, Recollection, Summary, Turn
from services.generator.redis_gate import PREFIX, RedisGate

_INDEX = f"{PREFIX}conversations"
_RECALLED_TURNS = 12

# KEYS: hash, turns, index. ARGV: turn, id, now in microseconds, expiry in seconds, turns kept.
# Scores of the index are times made unique, so that a page can end between any two conversations. %.0f: Lua would write 1.7e+15.
_APPEND = """
local newest = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')
local now = tonumber(ARGV[3])
if newest[2] and tonumber(newest[2]) >= now then now = tonumber(newest[2]) + 1 end
local stamp = string.format('%.0f', now)
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[5]), -1)
redis.call('HINCRBY', KEYS[1], 'turn_count', 1)
redis.call('HSETNX', KEYS[1], 'create_time', stamp)
redis.call('HSET', KEYS[1], 'update_time', stamp)
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], stamp, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now - tonumber(ARGV[4]) * 1000000))
return 1
"""
# KEYS: hash. ARGV: summary, its tokens, turns it covers. A summary of fewer turns than the one that is there came too late.
_PUT_SUMMARY = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if tonumber(redis.call('HGET', KEYS[1], 'summary_turns') or '0') >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], 'summary', ARGV[1], 'summary_tokens', ARGV[2], 'summary_turns', ARGV[3])
return 1
"""
# KEYS: hash, turns, index. ARGV: id.
_DELETE = """
local existed = redis.call('EXISTS', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
return existed
"""


class RedisConversations:
    """The conversation store."""

    def __init__(self, gate: RedisGate, expiry_seconds: int, kept_turns: int) -> None:
        self._gate = gate
        self._expiry_seconds = expiry_seconds
        self._kept_turns = kept_turns
        self._append = gate.client.register_script(_APPEND)
        self._put_summary = gate.client.register_script(_PUT_SUMMARY)
        self._delete = gate.client.register_script(_DELETE)

    async def recall(self, conversation_id: str) -> Recollection:
        fields, turns = await self._read(conversation_id, -_RECALLED_TURNS)
        if not fields:
            return Recollection()
        return Recollection(_summary(fields), turns, int(fields["turn_count"]), MemoryState.RECALLED)

    async def append(self, conversation_id: str, turn: Turn) -> None:
        keys = [*_keys(conversation_id), _INDEX]
        now = time.time_ns() // 1000
        values: list[str | int] = [_dump(turn), conversation_id, now, self._expiry_seconds, self._kept_turns]
        await self._gate.run(lambda _: self._append(keys=keys, args=values))

    async def put_summary(self, conversation_id: str, summary: Summary) -> bool:
        keys = [_keys(conversation_id)[0]]
        values: list[str | int] = [summary.text, summary.tokens, summary.turn_count]
        return bool(await self._gate.run(lambda _: self._put_summary(keys=keys, args=values)))

    async def get(self, conversation_id: str) -> Conversation:
        fields, turns = await self._read(conversation_id, 0)
        if not fields:
            raise ConversationNotFound(conversation_id)
        return self._conversation(conversation_id, fields, turns)

    async def page(self, page_size: int, after: str) -> tuple[list[Conversation], str]:
        found: list[Conversation] = []
        highest = f"({after}" if after else "+inf"
        while True:
            wanted = page_size - len(found)
            entries, hashes = await self._gate.run(partial(_page, highest, wanted))
            if not entries:
                return found, ""
            found += [self._conversation(each, fields, ()) for (each, _), fields in zip(entries, hashes, strict=True) if fields]
            highest = f"({entries[-1][1]:.0f}"
            if len(found) == page_size:
                return found, f"{entries[-1][1]:.0f}"

    async def delete(self, conversation_id: str) -> bool:
        keys = [*_keys(conversation_id), _INDEX]
        return bool(await self._gate.run(lambda _: self._delete(keys=keys, args=[conversation_id])))

    async def _read(self, conversation_id: str, first_turn: int) -> tuple[dict[str, str], tuple[Turn, ...]]:
        key, turns_key = _keys(conversation_id)

        async def read(redis: Redis) -> Any:
            async with redis.pipeline(transaction=True) as pipeline:
                pipeline.hgetall(key)
                pipeline.lrange(turns_key, first_turn, -1)
                return await pipeline.execute()

        fields, turns = await self._gate.run(read)
        return fields, tuple(_load(turn) for turn in turns)

    def _conversation(self, conversation_id: str, fields: dict[str, str], turns: tuple[Turn, ...]) -> Conversation:
        updated = int(fields["update_time"])
        return Conversation(
            id=conversation_id,
            summary=_summary(fields),
            turns=turns,
            turn_count=int(fields["turn_count"]),
            create_time=_time(int(fields["create_time"])),
            update_time=_time(updated),
            expire_time=_time(updated + self._expiry_seconds * 1_000_000),
        )


def _keys(conversation_id: str) -> tuple[str, str]:
    key = f"{PREFIX}conversation:{conversation_id}"
    return key, f"{key}:turns"


async def _page(highest: str, count: int, redis: Redis) -> tuple[list[tuple[str, float]], list[dict[str, str]]]:
    """Ids below `highest` with their scores, and their hashes, empty where a conversation has expired."""
    entries: Any = await redis.zrevrangebyscore(_INDEX, highest, "-inf", 0, count, withscores=True)
    async with redis.pipeline(transaction=False) as pipeline:
        for each, _ in entries:
            pipeline.hgetall(_keys(each)[0])
        return entries, await pipeline.execute()


def _summary(fields: dict[str, str]) -> Summary:
    return Summary(fields.get("summary", ""), int(fields.get("summary_tokens", 0)), int(fields.get("summary_turns", 0)))


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def _dump(turn: Turn) -> str:
    return json.dumps([turn.question, turn.answer, turn.standalone_question, turn.create_time.timestamp()])


def _load(text: str) -> Turn:
    question, answer, standalone, created = json.loads(text)
    return Turn(question, answer, standalone, datetime.fromtimestamp(created, UTC))
