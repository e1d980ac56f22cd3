"""Operations in Redis.

A service's own Lua scripts begin with `OPERATIONS_LUA`, so that an operation is created, and its items are finished, in the same
atomic step as the service's own records. Every item is recorded once, by name: work that is repeated after a crash does not count twice.

Keys, after the service's prefix (which holds a `{hash tag}`, so that scripts work on Redis Cluster too):
    op:{id}            hash    counts, times, cancel_requested, open (more items may come, so it does not end by itself), state once ended
    op:{id}:items      hash    item -> outcome
    op:{id}:failures   list    JSON of the first failures
    ops, ops:{target}  zset    ids by time of creation
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from redis.asyncio import Redis

from services.chassis.operations import ItemFailure, Operation, OperationNotFound, expected_end, state_of
from services.chassis.telemetry import attached

KEEP_SECONDS = 7 * 24 * 3600
MAX_FAILURES = 100
_POLL_SECONDS = 0.2

OPERATIONS_LUA = f"""
local P = ARGV[1]
local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function op_end(id, state)
  local key = P .. 'op:' .. id
  redis.call('HSET', key, 'state', state, 'end_time', NOW, 'update_time', NOW)
  redis.call('HDEL', key, 'doing')
  for _, part in ipairs({{'', ':items', ':failures'}}) do redis.call('EXPIRE', key .. part, {KEEP_SECONDS}) end
end

local function op_end_if_done(id)
  local f = redis.call('HMGET', P .. 'op:' .. id, 'total', 'succeeded', 'unchanged', 'failed', 'cancelled', 'state', 'open')
  if not f[1] or f[6] or f[7] then return end
  if f[2] + f[3] + f[4] + f[5] >= tonumber(f[1]) then
    op_end(id, tonumber(f[5]) > 0 and 'CANCELLED' or 'SUCCEEDED')
  end
end

local function op_create(id, kind, target, total)
  redis.call('HSET', P .. 'op:' .. id, 'kind', kind, 'target', target, 'total', total, 'succeeded', 0, 'unchanged', 0,
    'failed', 0, 'cancelled', 0, 'create_time', NOW, 'update_time', NOW)
  redis.call('ZADD', P .. 'ops', NOW, id)
  redis.call('ZADD', P .. 'ops:' .. target, NOW, id)
  op_end_if_done(id)
end

local function op_alive(id, doing)
  local key = P .. 'op:' .. id
  if redis.call('EXISTS', key) == 0 or redis.call('HEXISTS', key, 'state') == 1 then return end
  redis.call('HSETNX', key, 'start_time', NOW)
  redis.call('HSET', key, 'update_time', NOW)
  redis.call('HDEL', key, 'next_attempt_time')
  if doing ~= '' then redis.call('HSET', key, 'doing', doing) end
end

local function op_retry(id, at)
  local key = P .. 'op:' .. id
  if redis.call('EXISTS', key) == 0 or redis.call('HEXISTS', key, 'state') == 1 then return end
  redis.call('HSET', key, 'next_attempt_time', at, 'update_time', NOW)
end

local function op_item(id, item, outcome, failure)
  local key = P .. 'op:' .. id
  if redis.call('EXISTS', key) == 0 or redis.call('HEXISTS', key, 'state') == 1 then return false end
  if redis.call('HSETNX', key .. ':items', item, outcome) == 0 then return false end
  redis.call('HINCRBY', key, outcome, 1)
  redis.call('HSET', key, 'update_time', NOW)
  if failure ~= '' and redis.call('LLEN', key .. ':failures') < {MAX_FAILURES} then
    redis.call('RPUSH', key .. ':failures', failure)
  end
  op_end_if_done(id)
  return true
end
"""


class RedisOperations:
    """Reads operations. They are written by the scripts of the service that does the work."""

    def __init__(self, redis: Redis, prefix: str, stall_seconds: float, item_noun: str = "documents") -> None:
        self._redis = redis
        self._prefix = prefix
        self._stall_seconds = stall_seconds
        self._item_noun = item_noun

    async def get(self, operation_id: str) -> Operation:
        """One operation. Raises `OperationNotFound`."""
        found = await self._read([operation_id])
        if not found:
            raise OperationNotFound(operation_id)
        return found[0]

    async def list_operations(self, target: str, size: int, after: str) -> tuple[Sequence[Operation], str]:
        """Operations, newest first, of one target or of all (empty), and where the next page begins.

        A position is `time:id`; operations created at the same millisecond are told apart by their id.
        """
        index = f"{self._prefix}ops:{target}" if target else f"{self._prefix}ops"
        found: list[Operation] = []
        while len(found) <= size:
            entries = await self._entries(index, after, size + 1)
            if not entries:
                break
            present = await self._read([entry for entry, _ in entries])
            missing = {entry for entry, _ in entries} - {operation.id for operation in present}
            if missing:
                await self._redis.zrem(index, *missing)
            found += present
            after = _position(*entries[-1])
        page = found[:size]
        more = len(found) > size
        return page, _position(page[-1].id, page[-1].create_time * 1000) if more and page else ""

    async def wait(self, operation_id: str, seconds: float, until_done_exceeds: int | None) -> Operation:
        """The operation once it has ended, more items are done than given, or the time is over."""
        ends_at = time.monotonic() + seconds
        while True:
            # Looks while it waits are no part of the caller's trace: there may be hundreds.
            with attached({}):
                operation = await self.get(operation_id)
            left = ends_at - time.monotonic()
            enough = until_done_exceeds is not None and operation.done > until_done_exceeds
            if operation.ended or enough or left <= 0:
                return operation
            await asyncio.sleep(min(_POLL_SECONDS, left))

    async def _entries(self, index: str, after: str, count: int) -> Sequence[tuple[str, float]]:
        if not after:
            return await cast(Any, self._redis.zrevrange(index, 0, count - 1, withscores=True))
        score_text, _, last = after.partition(":")
        score = int(score_text)
        entries = await cast(Any, self._redis.zrevrangebyscore(index, score, "-inf", withscores=True, start=0, num=count + 200))
        # Within one millisecond the order is by id, descending: leave out what the page before had.
        return [(entry, at) for entry, at in entries if at < score or entry < last][:count]

    async def _read(self, ids: Sequence[str]) -> list[Operation]:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for operation_id in ids:
                pipe.hgetall(f"{self._prefix}op:{operation_id}")
                pipe.lrange(f"{self._prefix}op:{operation_id}:failures", 0, -1)
            clock, *answers = await pipe.execute()
        now = clock[0] + clock[1] / 1e6
        pairs = zip(ids, answers[::2], answers[1::2], strict=True)
        return [self._operation(operation_id, fields, failures, now) for operation_id, fields, failures in pairs if fields]

    def _operation(self, operation_id: str, fields: Mapping[str, str], failures: Sequence[str], now: float) -> Operation:
        def count(name: str) -> int:
            return int(fields.get(name, 0))

        def moment(name: str) -> float | None:
            return int(fields[name]) / 1000 if name in fields else None

        done = count("succeeded") + count("unchanged") + count("failed") + count("cancelled")
        skipped = count("unchanged") + count("cancelled")
        ended_as = fields.get("state", "")
        update_time = moment("update_time") or 0.0
        state = state_of(
            ended_as=ended_as,
            started="start_time" in fields,
            next_attempt_time=moment("next_attempt_time"),
            update_time=update_time,
            now=now,
            stall_seconds=self._stall_seconds,
        )
        message = f"{done:,} of {count('total'):,} {self._item_noun}"
        if not ended_as and fields.get("doing"):
            message += f"; {fields['doing']}"
        return Operation(
            id=operation_id,
            kind=fields["kind"],
            target=fields["target"],
            state=state,
            total=count("total"),
            succeeded=count("succeeded"),
            unchanged=count("unchanged"),
            failed=count("failed"),
            cancelled=count("cancelled"),
            create_time=moment("create_time") or 0.0,
            update_time=update_time,
            start_time=moment("start_time"),
            end_time=moment("end_time"),
            expected_end_time=None
            if ended_as
            else expected_end(start_time=moment("start_time"), now=now, total=count("total"), done=done, skipped=skipped),
            next_attempt_time=None if ended_as else moment("next_attempt_time"),
            failures=tuple(_failure(text) for text in failures),
            error=base64.b64decode(fields.get("error", "")),
            message=message,
            chunk_count=count("chunk_count"),
            embedded_chunk_count=count("embedded_chunk_count"),
        )


def _failure(text: str) -> ItemFailure:
    entry = json.loads(text)
    return ItemFailure(entry["name"], entry["uri"], base64.b64decode(entry["error"]))


def _position(entry: str, score: float) -> str:
    return f"{round(score)}:{entry}"
