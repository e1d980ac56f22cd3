"""Conversations in Redis: a hash and a list of turns each, and for each owner one index by last use.

Every change is one script, so any number of replicas may change one conversation at once. Expiry is the store's own; the index is
swept of what has expired whenever a turn is added. What a turn or a summary stems from is noted by the script that writes it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from typing import Any

from redis.asyncio import Redis

from services.chassis.redis_spans import name_scripts
from services.generator.domain import Conversation, ConversationNotFound, MemoryState, Recollection, Summary, Traces, Turn
from services.generator.owning import Owner
from services.generator.redis_gate import PREFIX, RedisGate
from services.generator.redis_stems import NOTING, STEMMING

_RECALLED_TURNS = 12

# KEYS: hash, turns, index. ARGV: turn, id, now in microseconds, expiry in seconds, turns kept, tenant, record.
# Scores of the index are times made unique, so that a page can end between any two conversations. %.0f: Lua would write 1.7e+15.
_APPEND = f"""{NOTING}
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
redis.call('EXPIRE', KEYS[3], ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now - tonumber(ARGV[4]) * 1000000))
note(ARGV[6], ARGV[7], string.format('%.0f', math.ceil(now / 1000000) + tonumber(ARGV[4])), cjson.decode(ARGV[1])[5])
return 1
"""
# KEYS: hash. ARGV: summary, its tokens, turns it covers, names of the chunks it stems from as JSON, tenant, record, now in seconds.
# A summary of fewer turns than the one that is there came too late.
_PUT_SUMMARY = f"""{NOTING}
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if tonumber(redis.call('HGET', KEYS[1], 'summary_turns') or '0') >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], 'summary', ARGV[1], 'summary_tokens', ARGV[2], 'summary_turns', ARGV[3], 'summary_sources', ARGV[4])
note(ARGV[5], ARGV[6], string.format('%.0f', tonumber(ARGV[7]) + redis.call('TTL', KEYS[1]) + 1), cjson.decode(ARGV[4]))
return 1
"""
# KEYS: hash, turns. ARGV: names of chunks or documents as JSON, tenant, record, 1 to take out what stems from one of them or 0 to count it.
# What was said meanwhile stays. Returns how many turns and how many summaries.
_REDACT = f"""{STEMMING}
going(ARGV[1])
local turns, kept = redis.call('LRANGE', KEYS[2], 0, -1), {{}}
for _, text in ipairs(turns) do
  if not stems(cjson.decode(text)[5]) then kept[#kept + 1] = text end
end
local summaries = stems(cjson.decode(redis.call('HGET', KEYS[1], 'summary_sources') or '[]')) and 1 or 0
if ARGV[4] == '0' then return {{#turns - #kept, summaries}} end
if #kept < #turns then
  local left = redis.call('PTTL', KEYS[2])
  redis.call('DEL', KEYS[2])
  for _, text in ipairs(kept) do redis.call('RPUSH', KEYS[2], text) end
  if #kept > 0 and left > 0 then redis.call('PEXPIRE', KEYS[2], left) end
end
if summaries == 1 then redis.call('HDEL', KEYS[1], 'summary', 'summary_tokens', 'summary_turns', 'summary_sources') end
unnote(ARGV[2], ARGV[3])
return {{#turns - #kept, summaries}}
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
        self._redact = gate.client.register_script(_REDACT)
        self._delete = gate.client.register_script(_DELETE)
        name_scripts({
            "append turn": self._append, "put summary": self._put_summary, "redact conversation": self._redact,
            "delete conversation": self._delete,
        })  # fmt: skip

    async def recall(self, owner: Owner, conversation_id: str) -> Recollection:
        fields, turns = await self._read(owner, conversation_id, -_RECALLED_TURNS)
        if not fields:
            return Recollection()
        return Recollection(_summary(fields), turns, int(fields["turn_count"]), MemoryState.RECALLED)

    async def append(self, owner: Owner, conversation_id: str, turn: Turn) -> None:
        keys = [*_keys(owner, conversation_id), _index(owner)]
        now = time.time_ns() // 1000
        record = _record(owner, conversation_id)
        values: list[str | int] = [_dump(turn), conversation_id, now, self._expiry_seconds, self._kept_turns, owner.tenant, record]
        await self._gate.run(lambda _: self._append(keys=keys, args=values))

    async def put_summary(self, owner: Owner, conversation_id: str, summary: Summary) -> bool:
        keys = [_keys(owner, conversation_id)[0]]
        sources, record = json.dumps(summary.sources), _record(owner, conversation_id)
        values: list[str | int] = [summary.text, summary.tokens, summary.turn_count, sources, owner.tenant, record, int(time.time())]
        return bool(await self._gate.run(lambda _: self._put_summary(keys=keys, args=values)))

    async def redact(self, owner: Owner, conversation_id: str, gone: Collection[str]) -> None:
        await self.forget(owner.tenant, _record(owner, conversation_id), gone)

    async def forget(self, tenant: str, record: str, gone: Collection[str]) -> Traces:
        return await self._stemming(tenant, record, gone, 1)

    async def count(self, tenant: str, record: str, gone: Collection[str]) -> Traces:
        return await self._stemming(tenant, record, gone, 0)

    async def get(self, owner: Owner, conversation_id: str) -> Conversation:
        fields, turns = await self._read(owner, conversation_id, 0)
        if not fields:
            raise ConversationNotFound(conversation_id)
        return self._conversation(conversation_id, fields, turns)

    async def page(self, owner: Owner, page_size: int, after: str) -> tuple[list[Conversation], str]:
        found: list[Conversation] = []
        highest = f"({after}" if after else "+inf"
        while True:
            wanted = page_size - len(found)
            entries, hashes = await self._gate.run(partial(_page, owner, highest, wanted))
            if not entries:
                return found, ""
            found += [self._conversation(each, fields, ()) for (each, _), fields in zip(entries, hashes, strict=True) if fields]
            highest = f"({entries[-1][1]:.0f}"
            if len(found) == page_size:
                return found, f"{entries[-1][1]:.0f}"

    async def delete(self, owner: Owner, conversation_id: str) -> bool:
        keys = [*_keys(owner, conversation_id), _index(owner)]
        return bool(await self._gate.run(lambda _: self._delete(keys=keys, args=[conversation_id])))

    async def _stemming(self, tenant: str, record: str, gone: Collection[str], take_out: int) -> Traces:
        keys = [f"{PREFIX}{record}", f"{PREFIX}{record}:turns"]
        values: list[str | int] = [json.dumps(sorted(gone)), tenant, record, take_out]
        turns, summaries = await self._gate.run(lambda _: self._redact(keys=keys, args=values))
        return Traces(turns=turns, summaries=summaries)

    async def _read(self, owner: Owner, conversation_id: str, first_turn: int) -> tuple[dict[str, str], tuple[Turn, ...]]:
        key, turns_key = _keys(owner, conversation_id)

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


def _keys(owner: Owner, conversation_id: str) -> tuple[str, str]:
    key = f"{PREFIX}{_record(owner, conversation_id)}"
    return key, f"{key}:turns"


def _record(owner: Owner, conversation_id: str) -> str:
    return f"conversation:{owner.key}:{conversation_id}"


def _index(owner: Owner) -> str:
    return f"{PREFIX}conversations:{owner.key}"


async def _page(owner: Owner, highest: str, count: int, redis: Redis) -> tuple[list[tuple[str, float]], list[dict[str, str]]]:
    """Ids below `highest` with their scores, and their hashes, empty where a conversation has expired."""
    entries: Any = await redis.zrevrangebyscore(_index(owner), highest, "-inf", 0, count, withscores=True)
    async with redis.pipeline(transaction=False) as pipeline:
        for each, _ in entries:
            pipeline.hgetall(_keys(owner, each)[0])
        return entries, await pipeline.execute()


def _summary(fields: dict[str, str]) -> Summary:
    sources = tuple(json.loads(fields.get("summary_sources", "[]")))
    return Summary(fields.get("summary", ""), int(fields.get("summary_tokens", 0)), int(fields.get("summary_turns", 0)), sources)


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def _dump(turn: Turn) -> str:
    return json.dumps([turn.question, turn.answer, turn.standalone_question, turn.create_time.timestamp(), turn.sources])


def _load(text: str) -> Turn:
    question, answer, standalone, created, sources = json.loads(text)
    return Turn(question, answer, standalone, datetime.fromtimestamp(created, UTC), tuple(sources))
