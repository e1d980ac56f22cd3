"""Sources and their syncs in Redis. See `sources_lua.py` for the keys and `source_scripts.py` for the steps."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio import Redis

from services.chassis.errors import CorellaError
from services.chassis.redis_spans import name_scripts
from services.chassis.steps import current_traceparent
from services.retriever import source_scripts as scripts
from services.retriever.access import NOBODY_ID
from services.retriever.domain import CorpusNotFound, DocumentFailure
from services.retriever.idempotency import Request
from services.retriever.names import fresh_id
from services.retriever.redis_catalog import PREFIX
from services.retriever.redis_locks import translated
from services.retriever.source_domain import (
    ClaimedSync,
    Item,
    Phase,
    Source,
    SourceExists,
    SourceNotFound,
    SourcePaused,
    SourceSpec,
)
from services.retriever.source_records import source_of, spec_of, spec_text

_REPLACED = DocumentFailure("The document changed at its source before this version was indexed.", reason="DOCUMENT_REPLACED")
_LEAVING = DocumentFailure("The document is being deleted; the next sync looks at it again.", reason="DOCUMENT_BEING_DELETED")
_FOREIGN = DocumentFailure(
    "A document of this URI was handed in by a call or is kept by another source, and is not touched; delete it there to have it here.",
    reason="DOCUMENT_BELONGS_TO_ANOTHER_SOURCE",
)
_DUE_AT_ONCE = 100


class RedisSources:
    """Records, leases and steps. Raises `CatalogUnavailable` whenever Redis cannot be reached."""

    def __init__(self, redis: Redis, prefix: str = PREFIX) -> None:
        self._redis = redis
        self._prefix = prefix
        self._scripts = {
            name: redis.register_script(getattr(scripts, name))
            for name in (
                "CREATE", "UPDATE", "BEGIN", "BEGIN_DUE", "PAUSE", "RESUME", "BEGIN_DELETE", "END_DELETE", "CLAIM", "RENEW", "RECORD",
                "REMOVED", "CLOSE", "SETTLE", "RETRY", "GIVE_BACK", "FAIL",
            )
        }  # fmt: skip
        name_scripts({f"source {name}": script for name, script in self._scripts.items()})

    # What callers ask for

    async def create(self, corpus: str, source: str, spec: SourceSpec, *, paused: bool, request: Request) -> bool:
        """Keeps a new source and begins its first sync, unless it is paused.

        False: one of that id is being deleted. Raises `CorpusNotFound`, `SourceExists`.
        """
        outcome, *rest = await self._run(
            "CREATE", corpus, source, *self._kept(request), *_spec(spec), _flag(paused), fresh_id(), current_traceparent()
        )
        if outcome == "GONE":
            raise CorpusNotFound(corpus)
        if outcome == "EXISTS":
            raise SourceExists(source)
        if outcome == "REPEATED":
            request.answer(rest[0])
        return bool(outcome != "LEAVING")

    async def update(self, corpus: str, source: str, spec: SourceSpec, *, compare: bool, request: Request) -> None:
        """Keeps what is said of a source from now on; with `compare` everything is compared anew at the next sync."""
        outcome, *rest = await self._run("UPDATE", corpus, source, *self._kept(request), *_spec(spec), _flag(compare))
        _check(outcome, source)
        if outcome == "REPEATED":
            request.answer(rest[0])

    async def begin(self, corpus: str, source: str, *, full: bool, confirm: bool) -> str:
        """Begins a sync, or joins the one that goes on. Returns its operation. Raises `SourceNotFound`, `SourcePaused`."""
        outcome, *rest = await self._run("BEGIN", corpus, source, fresh_id(), _flag(full), _flag(confirm), current_traceparent())
        _check(outcome, source)
        if outcome == "PAUSED":
            raise SourcePaused(source)
        return str(rest[0])

    async def begin_due(self) -> int:
        """Begins the syncs that are due, each once, however many ask at the same time. Returns how many these were."""
        return int(await self._run("BEGIN_DUE", *(fresh_id() for _ in range(_DUE_AT_ONCE))))

    async def pause(self, corpus: str, source: str) -> list[str]:
        """Stops what goes on, and what would come. Returns blobs no longer needed."""
        outcome, *blobs = await self._run("PAUSE", corpus, source)
        _check(outcome, source)
        return blobs

    async def resume(self, corpus: str, source: str) -> None:
        """Takes scheduled syncs up again."""
        outcome, *_ = await self._run("RESUME", corpus, source)
        _check(outcome, source)

    async def begin_delete(self, corpus: str, source: str, *, documents: bool) -> tuple[int | None, list[str]]:
        """From now on nothing of the source is done. Returns how many documents go with it (None: they stay) and blobs no longer needed."""
        outcome, *rest = await self._run("BEGIN_DELETE", corpus, source, _flag(documents))
        _check(outcome, source)
        return int(rest[0]) if rest[0] else None, rest[1:]

    async def end_delete(self, corpus: str, source: str, request: Request, answer: str) -> None:
        """Forgets the source, and remembers the request as answered."""
        await self._run("END_DELETE", corpus, source, request.key(self._prefix), request.record(answer))

    async def leaving(self) -> list[tuple[str, str]]:
        """Corpus and id of sources whose deletion has begun and not ended."""
        async with translated():
            members = await cast(Any, self._redis.hkeys(f"{self._prefix}syncs:leaving"))
        return [tuple(member.split("/", 1)) for member in members]

    async def answered(self, request: Request) -> str | None:
        """What the request was answered with before; None if it is new. Raises `RequestIdReused`."""
        if not request.id:
            return None
        async with translated():
            record = await cast(Any, self._redis.get(request.key(self._prefix)))
        return None if record is None else request.answer(record)

    async def get(self, corpus: str, source: str) -> Source:
        """One source. Raises `SourceNotFound`."""
        found = await self._read(corpus, [source])
        if not found:
            raise SourceNotFound(source)
        return found[0]

    async def list_sources(self, corpus: str, size: int, after: str) -> tuple[list[Source], str]:
        """Sources by id, and where the next page begins."""
        async with translated():
            low = f"({after}" if after else "-"
            ids = await cast(Any, self._redis.zrangebylex(f"{self._prefix}sources:{corpus}", low, "+", start=0, num=size + 1))
        return await self._read(corpus, ids[:size]), ids[size - 1] if len(ids) > size else ""

    # What a worker does

    async def claim(self, owner: str, lease_seconds: float) -> ClaimedSync | None:
        """Takes a sync that waits for a worker in hand. `owner` must be new each time."""
        found = await self._run("CLAIM", owner, _ms(lease_seconds))
        if not found:
            return None
        corpus, source, operation, spec, cursor, full, phase, retries, last_begun, traceparent = found
        return ClaimedSync(
            corpus, source, operation, spec_of(spec), cursor, full == "1", Phase(phase), int(retries), int(last_begun) / 1000, traceparent
        )

    async def items(self, corpus: str, source: str) -> dict[str, Item]:
        """What the source remembers of its documents, by their keys at the place."""
        stem = f"{self._prefix}source:{corpus}:{source}:items"
        async with translated():
            kept = {key: json.loads(text) for key, text in (await cast(Any, self._redis.hgetall(stem))).items()}
        found: dict[str, Item] = {}
        keys = list(kept)
        for start in range(0, len(keys), 1000):
            part = keys[start : start + 1000]
            async with translated(), self._redis.pipeline(transaction=False) as pipe:
                for key in part:
                    pipe.hmget(f"{self._prefix}doc:{corpus}:{kept[key]['document']}", "state", "source", "digest", "access")
                states = await pipe.execute()
            for key, (state, keeper, digest, access) in zip(part, states, strict=True):
                item = kept[key]
                present = state not in (None, "DELETING") and keeper == source
                current = present and digest == item["digest"]
                found[key] = Item(
                    item["version"], item["document"], item["digest"], current, present, int(access or NOBODY_ID), state == "FAILED"
                )
        return found

    async def confirmed(self, sync: ClaimedSync) -> bool:
        """Whether somebody said that what is gone is to be removed, however much it is."""
        async with translated():
            return bool(await cast(Any, self._redis.hget(f"{self._prefix}source:{sync.corpus}:{sync.source}", "confirm")) == "1")

    async def renew(self, sync: ClaimedSync, owner: str, lease_seconds: float, doing: str) -> bool:
        """Shows a sign of life. False when the sync is no longer this owner's."""
        return bool(await self._run("RENEW", sync.corpus, sync.source, owner, _ms(lease_seconds), doing) == "OK")

    async def record(self, sync: ClaimedSync, owner: str, total: int, entries: Sequence[dict[str, Any]]) -> list[str] | None:
        """Keeps what was seen, and hands documents to the workers. Returns blobs no longer needed; None when the sync was lost."""
        errors = [packed(error) for error in (_REPLACED, _LEAVING, _FOREIGN)]
        outcome, *blobs = await self._run("RECORD", sync.corpus, sync.source, owner, total, *errors, json.dumps(entries))
        return None if outcome == "LOST" else blobs

    async def removed(self, sync: ClaimedSync, owner: str, key: str, document: str) -> bool:
        """A document that is gone was deleted; an empty `document` only forgets the key. False when the sync was lost."""
        return bool(await self._run("REMOVED", sync.corpus, sync.source, owner, key, document) == "OK")

    async def close(self, sync: ClaimedSync, owner: str, cursor: str, withheld: int) -> bool:
        """Everything was read: the sync ends when its documents have. False when it was lost."""
        return bool(await self._run("CLOSE", sync.corpus, sync.source, owner, cursor, withheld) == "OK")

    async def settle(self, sync: ClaimedSync, owner: str, lease_seconds: float) -> str:
        """Ends the sync if its documents have ended: DONE, WAIT or LOST."""
        return str(await self._run("SETTLE", sync.corpus, sync.source, owner, _ms(lease_seconds)))

    async def retry(self, sync: ClaimedSync, owner: str, delay_seconds: float, attempts: int, error: CorellaError) -> str:
        """Lets the sync be tried again after the delay, at most `attempts` times (0: without end): RETRY, FAILED or LOST."""
        return str(await self._run("RETRY", sync.corpus, sync.source, owner, _ms(delay_seconds), attempts, packed(error)))

    async def give_back(self, sync: ClaimedSync, owner: str) -> None:
        """Lets another worker go on at once."""
        await self._run("GIVE_BACK", sync.corpus, sync.source, owner)

    async def fail(self, sync: ClaimedSync, owner: str, error: CorellaError) -> None:
        """The sync could not be done."""
        await self._run("FAIL", sync.corpus, sync.source, owner, packed(error))

    async def _read(self, corpus: str, ids: Sequence[str]) -> list[Source]:
        if not ids:
            return []
        async with translated(), self._redis.pipeline(transaction=False) as pipe:
            for source in ids:
                key = f"{self._prefix}source:{corpus}:{source}"
                pipe.zscore(f"{self._prefix}sources:{corpus}", source)
                pipe.hgetall(key)
                pipe.lrange(f"{key}:failures", 0, -1)
                pipe.hlen(f"{key}:items")
                pipe.zscore(f"{self._prefix}syncs:due", f"{corpus}/{source}")
            answers = await pipe.execute()
        rows = zip(ids, *(answers[start::5] for start in range(5)), strict=True)
        return [
            source_of(corpus, source, fields, failures=failures, documents=documents, due=due)
            for source, known, fields, failures, documents, due in rows
            if known is not None and fields
        ]

    def _kept(self, request: Request) -> tuple[str, str]:
        return request.key(self._prefix), request.record("")

    async def _run(self, script: str, *arguments: Any) -> Any:
        async with translated():
            return await self._scripts[script](keys=[self._prefix], args=[self._prefix, *arguments])


def packed(error: CorellaError) -> str:
    """An error as the records hold it."""
    return base64.b64encode(error.to_status().SerializeToString()).decode()


def _spec(spec: SourceSpec) -> tuple[str, int]:
    return spec_text(spec), _ms(spec.interval_seconds)


def _flag(value: bool) -> str:
    return "1" if value else ""


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _check(outcome: str, source: str) -> None:
    if outcome == "MISSING":
        raise SourceNotFound(source)
