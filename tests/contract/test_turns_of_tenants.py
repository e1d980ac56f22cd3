"""Whose documents are taken next, when many wait: tenants take turns, and a tenant's corpora among themselves. On a real Valkey."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from retriever_in_process import Servers, servers

from services.retriever.access import EVERYONE
from services.retriever.domain import Version
from services.retriever.idempotency import Request
from services.retriever.names import document_id, fresh_id
from services.retriever.redis_catalog import RedisCatalog, open_redis
from services.retriever.tenancy import tenant_of


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("turns")) as at:
        yield at


async def hand_in(catalog: RedisCatalog, corpus: str, count: int) -> None:
    documents = []
    for number in range(count):
        uri = f"https://{corpus}.example.com/{number}"
        documents.append((document_id(uri), Version(uri, "", "text/plain", {}, "0", 10, fresh_id(), fresh_id(), f"{corpus}/{number}")))
    await catalog.commit(corpus, fresh_id(), documents, Request("IngestDocuments", "", ""), EVERYONE)


async def test_one_document_does_not_wait_for_another_tenants_ten_thousand_in_500_corpora(running: Servers) -> None:
    redis = open_redis(running.redis_url)
    catalog = RedisCatalog(redis)
    for number in range(500):
        await hand_in(catalog, f"big.corpus-{number}", 20)
    first = [(await catalog.claim("worker", 10.0, 16, 1 << 20))[0].corpus for _ in range(5)]
    await hand_in(catalog, "small.corpus", 1)
    taken = [(await catalog.claim("worker", 10.0, 16, 1 << 20))[0].corpus for _ in range(10)]
    assert "small.corpus" in taken[:2]
    # And a tenant's own corpora take turns as well.
    ours = [corpus for corpus in [*first, *taken] if tenant_of(corpus) == "big"]
    assert len(set(ours)) == len(ours)
    await redis.aclose()


async def test_tenants_that_keep_handing_in_get_the_same_share(running: Servers) -> None:
    redis = open_redis(running.redis_url)
    await redis.flushall()
    catalog = RedisCatalog(redis)
    corpora = {"one": 1, "two": 5, "three": 50}
    for tenant, count in corpora.items():
        for number in range(count):
            await hand_in(catalog, f"{tenant}.corpus-{number}", 100 // count)
    turns: Counter[str] = Counter()
    for _ in range(15):
        claimed = await catalog.claim("worker", 10.0, 2, 1 << 20)
        turns[tenant_of(claimed[0].corpus)] += 1
    assert set(turns.values()) == {5}
    await redis.aclose()
