"""Which embedder answers for an index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from services.chassis.errors import Unavailable
from services.retriever.domain import Model, Vector
from services.retriever.embedders import Embedders


class Fake:
    """An embedder of one model, which may be away."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.away = False
        self.asked = 0

    def _check(self) -> None:
        if self.away:
            raise Unavailable("The embedder cannot be reached.", reason="EMBEDDER_UNAVAILABLE")

    async def model(self) -> Model:
        self.asked += 1
        self._check()
        return Model(self.fingerprint, 2, 256)

    async def embed_query(self, text: str) -> tuple[Vector, str]:
        self._check()
        return np.zeros(2, np.float32), self.fingerprint

    async def embed_documents(self, texts: Sequence[str]) -> tuple[np.ndarray, str]:
        self._check()
        return np.zeros((len(texts), 2), np.float32), self.fingerprint

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(texts)]

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        return [float(self.fingerprint == "new")] * len(texts)


async def test_each_index_gets_its_own_model_and_each_embedder_is_asked_once() -> None:
    new, old = Fake("new"), Fake("old")
    embedders = Embedders(new, [old])
    for _ in range(3):
        assert (await embedders.embed_query("?", "old"))[1] == "old"
        assert (await embedders.embed_query("?", "new"))[1] == "new"
        assert (await embedders.embed_documents(["a"], "old"))[1] == "old"
    assert (new.asked, old.asked) == (1, 1)
    assert (await embedders.model()).fingerprint == "new"
    assert await embedders.rerank("?", ["a"]) == [1.0]


async def test_with_one_embedder_nothing_is_asked_and_its_fingerprint_tells() -> None:
    only = Fake("new")
    assert (await Embedders(only).embed_query("?", "old"))[1] == "new"
    assert only.asked == 0


async def test_one_that_is_away_matters_only_to_those_who_need_it() -> None:
    new, old = Fake("new"), Fake("old")
    embedders = Embedders(new, [old])
    old.away = True
    assert (await embedders.embed_query("?", "new"))[1] == "new"
    assert old.asked == 0
    with pytest.raises(Unavailable):
        await embedders.embed_query("?", "old")
    old.away, new.away = False, True
    assert (await embedders.embed_query("?", "old"))[1] == "old"
    with pytest.raises(Unavailable):
        await embedders.embed_query("?", "new")


async def test_a_model_that_none_has_is_not_made_up() -> None:
    assert (await Embedders(Fake("new"), [Fake("old")]).embed_query("?", "third"))[1] == "new"


async def test_an_embedder_that_comes_back_with_another_model_is_noticed() -> None:
    one, two = Fake("old"), Fake("older")
    embedders = Embedders(one, [two])
    assert (await embedders.embed_query("?", "old"))[1] == "old"
    one.fingerprint, two.fingerprint = "new", "old"
    assert (await embedders.embed_query("?", "old"))[1] == "old"
    assert (await embedders.embed_query("?", "new"))[1] == "new"
