"""Which accesses admit a caller, by corpus, from the catalog in Redis.

What a number means never changes, so what was read once is kept; a search asks only whether numbers were added since. One round trip.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, cast

from redis.asyncio import Redis

from services.chassis.identity import Caller
from services.chassis.roles import Role, holds
from services.retriever.access import EVERYONE_ID, Access, Readable, access_of
from services.retriever.cache_metrics import ACCESS, looked_up
from services.retriever.domain import CatalogUnavailable
from services.retriever.redis_catalog import PREFIX
from services.retriever.redis_locks import translated

_PATIENCE_SECONDS = 3.0
"""A search waits no longer to learn what its caller may read; then it is refused."""
_KEPT_CORPORA = 256
_KEPT_CALLERS = 256
"""Of one corpus, since its accesses last changed."""


class _Corpus:
    """What is known of one corpus."""

    def __init__(self) -> None:
        self.version = ""
        self.accesses: dict[int, Access] = {}
        self.callers: OrderedDict[tuple[str, frozenset[str]], frozenset[int]] = OrderedDict()

    def learn(self, version: str, texts: dict[str, str]) -> None:
        known = self.accesses
        self.accesses = {int(number): known.get(int(number)) or access_of(text) for number, text in texts.items()}
        self.version = version
        self.callers.clear()

    def admitting(self, caller: Caller) -> frozenset[int]:
        key = (caller.user, caller.groups)
        if key not in self.callers:
            self.callers[key] = frozenset({EVERYONE_ID, *(number for number, access in self.accesses.items() if access.allows(caller))})
            if len(self.callers) > _KEPT_CALLERS:
                self.callers.popitem(last=False)
        return self.callers[key]


class RedisReaders:
    """Says what a caller may read. Raises `CatalogUnavailable` when that cannot be known."""

    def __init__(self, redis: Redis, prefix: str = PREFIX) -> None:
        self._redis = redis
        self._prefix = prefix
        self._corpora: OrderedDict[str, _Corpus] = OrderedDict()

    async def readable(self, corpus_id: str, caller: Caller) -> Readable:
        """What the caller may read in a corpus (inner id), as it stands now."""
        sees_all = holds(caller.roles, Role.ADMIN)
        if caller.reads_everything:
            return Readable(None, sees_all)
        known = self._corpora.setdefault(corpus_id, _Corpus())
        self._corpora.move_to_end(corpus_id)
        if len(self._corpora) > _KEPT_CORPORA:
            self._corpora.popitem(last=False)
        try:
            async with translated(), asyncio.timeout(_PATIENCE_SECONDS):
                version = await cast(Any, self._redis.get(f"{self._prefix}accessed:{corpus_id}")) or ""
                looked_up(ACCESS, hits=int(version == known.version), misses=int(version != known.version))
                if version != known.version:
                    # Read after the version: at worst it is older than what is read, and the next search reads again.
                    known.learn(version, await cast(Any, self._redis.hgetall(f"{self._prefix}access:{corpus_id}")))
        except TimeoutError as error:
            raise CatalogUnavailable("The catalog (Redis), which says who may read what, does not answer.") from error
        return Readable(known.admitting(caller), sees_all)
