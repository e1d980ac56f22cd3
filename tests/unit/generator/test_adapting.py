"""Which adapter writes: what the shelf wants, what a request names, and what happens when that cannot be had."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from services.generator.adapting import Adapting
from services.generator.domain import BASE, Adapter, AdapterNotFound, AdapterRefused, AdaptersOff, QueueFull, ShelfUnavailable
from services.generator.ports import DesiredAdapter


def version(number: int) -> Adapter:
    return Adapter(f"adapters/a/versions/{number}", f"digest-{number}", f"jobs/{number}")


ONE, TWO, THREE, FOUR, FIVE = (version(number) for number in range(1, 6))


class DictShelf:
    """A shelf with what it is told to have; the text of an error stands for a version that is refused."""

    def __init__(self, *adapters: Adapter) -> None:
        self.adapters = {adapter.name: adapter for adapter in adapters}
        self.wanted: DesiredAdapter | None = None
        self.refused: dict[str, str] = {}
        self.down = False
        self.fetched: list[str] = []
        self.local: set[Adapter] = set()
        self.wait = asyncio.Event()
        self.wait.set()

    def want(self, adapter: Adapter = BASE) -> None:
        self.wanted = DesiredAdapter(adapter.name, adapter.digest, 1 if self.wanted is None else self.wanted.generation + 1)

    async def desired(self) -> DesiredAdapter | None:
        if self.down:
            raise ShelfUnavailable("down")
        return self.wanted

    async def fetch(self, name: str, digest: str = "") -> tuple[Adapter, Path]:
        self.fetched.append(name)
        await self.wait.wait()
        if self.down:
            raise ShelfUnavailable("down")
        if name not in self.adapters:
            raise AdapterNotFound(name)
        adapter = self.adapters[name]
        if name in self.refused or (digest and digest != adapter.digest):
            raise AdapterRefused(name, self.refused.get(name, "wrong digest"))
        self.local.add(adapter)
        return adapter, Path("/local") / adapter.digest

    async def forget(self, adapter: Adapter) -> None:
        self.local.discard(adapter)

    async def keep_only(self, adapters: Collection[Adapter]) -> None:
        self.local &= set(adapters)


class CountingHost:
    """An engine with so many slots."""

    fingerprint = ""
    max_adapter_rank = 16

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.loaded: set[Adapter] = set()
        self.refuses = False

    async def load_adapter(self, adapter: Adapter, folder: Path) -> None:
        await asyncio.sleep(0)
        if self.refuses:
            raise AdapterRefused(adapter.name, "the engine cannot load it")
        assert adapter not in self.loaded
        self.loaded.add(adapter)
        assert len(self.loaded) <= self.slots

    async def unload_adapter(self, adapter: Adapter) -> None:
        self.loaded.remove(adapter)


class Stage:
    """The use case with what it stands on."""

    def __init__(self, candidates: int = 2) -> None:
        self.shelf = DictShelf(ONE, TWO, THREE, FOUR, FIVE)
        self.host = CountingHost(candidates + 2)
        self.adapting = Adapting(self.host, self.shelf, max_candidates=candidates, poll_seconds=0.01)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(2):
            while not holds():
                await asyncio.sleep(0.005)

    async def chosen(self, name: str = "") -> Adapter:
        async with self.adapting.chosen(name) as adapter:
            return adapter


@asynccontextmanager
async def started(wanted: Adapter | None = None) -> AsyncIterator[Stage]:
    stage = Stage()
    if wanted is not None:
        stage.shelf.want(wanted)
    await stage.adapting.start()
    try:
        yield stage
    finally:
        await stage.adapting.close()


async def test_without_a_shelf_the_base_model_serves_and_no_version_can_be_named() -> None:
    adapting = Adapting(CountingHost(0), None)
    await adapting.start()
    for name in ("", "base"):
        async with adapting.chosen(name) as adapter:
            assert adapter == BASE
    with pytest.raises(AdaptersOff):
        await adapting.prepare(ONE.name)
    await adapting.close()


async def test_where_nobody_has_said_what_is_to_serve_the_base_model_does() -> None:
    async with started() as stage:
        assert await stage.chosen() == BASE


async def test_what_is_to_serve_serves_before_it_is_ready() -> None:
    async with started(ONE) as stage:
        assert await stage.chosen() == ONE
        assert stage.host.loaded == {ONE}


async def test_a_start_waits_for_what_cannot_be_had_and_never_serves_something_else() -> None:
    stage = Stage()
    stage.shelf.want(ONE)
    stage.shelf.refused[ONE.name] = "damaged"
    starting = asyncio.create_task(stage.adapting.start())
    await asyncio.sleep(0.1)
    assert not starting.done()
    assert len(stage.shelf.fetched) < 8  # less and less often
    stage.shelf.want(TWO)
    await asyncio.wait_for(starting, 1)
    assert await stage.chosen() == TWO
    await stage.adapting.close()


async def test_a_start_waits_for_a_shelf_out_of_reach() -> None:
    stage = Stage()
    stage.shelf.want(ONE)
    stage.shelf.down = True
    starting = asyncio.create_task(stage.adapting.start())
    await asyncio.sleep(0.05)
    assert not starting.done()
    stage.shelf.down = False
    await asyncio.wait_for(starting, 1)
    assert await stage.chosen() == ONE
    await stage.adapting.close()


async def test_a_change_is_followed_and_texts_keep_what_they_began_with() -> None:
    async with started(ONE) as stage, stage.adapting.chosen("") as held:
        stage.shelf.want(TWO)
        await stage.until(lambda: stage.adapting.serving == TWO)
        assert held == ONE
        assert stage.host.loaded == {ONE, TWO}
        assert await stage.chosen() == TWO


async def test_going_back_to_the_base_model_is_a_change_as_any_other() -> None:
    async with started(ONE) as stage:
        stage.shelf.want(BASE)
        await stage.until(lambda: stage.adapting.serving == BASE)
        assert await stage.chosen() == BASE


@pytest.mark.parametrize("trouble", ["refused", "missing", "digest", "engine", "shelf"])
async def test_what_serves_goes_on_where_the_new_one_cannot_be_had_and_going_back_heals(trouble: str) -> None:
    async with started(ONE) as stage:
        match trouble:
            case "refused":
                stage.shelf.refused[TWO.name] = "rank 64"
            case "missing":
                del stage.shelf.adapters[TWO.name]
            case "digest":
                stage.shelf.adapters[TWO.name] = Adapter(TWO.name, "other")
            case "engine":
                stage.host.refuses = True
        stage.shelf.want(TWO)
        await asyncio.sleep(0.05)
        if trouble == "shelf":
            stage.shelf.down = True
            stage.shelf.want(THREE)
            await asyncio.sleep(0.05)
            assert await stage.chosen() == TWO
            stage.shelf.down = False
            await stage.until(lambda: stage.adapting.serving == THREE)
            return
        assert await stage.chosen() == ONE
        stage.host.refuses = False
        stage.shelf.want(ONE)
        await asyncio.sleep(0.05)
        assert await stage.chosen() == ONE
        stage.shelf.want(THREE)
        await stage.until(lambda: stage.adapting.serving == THREE)


async def test_a_shelf_that_loses_its_content_does_not_change_what_serves() -> None:
    async with started(ONE) as stage:
        stage.shelf.wanted = None
        await asyncio.sleep(0.05)
        assert await stage.chosen() == ONE


async def test_a_version_that_was_refused_is_tried_again_and_serves_once_it_is_mended() -> None:
    async with started(ONE) as stage:
        stage.shelf.refused[TWO.name] = "damaged"
        stage.shelf.want(TWO)
        await asyncio.sleep(0.03)
        stage.shelf.refused.clear()
        await stage.until(lambda: stage.adapting.serving == TWO)


async def test_a_candidate_writes_beside_what_serves_and_does_not_come_to_serve() -> None:
    async with started(ONE) as stage:
        async with (
            stage.adapting.chosen(TWO.name) as candidate,
            stage.adapting.chosen("base") as base,
            stage.adapting.chosen("") as serving,
        ):
            assert (candidate, base, serving) == (TWO, BASE, ONE)
        assert stage.adapting.serving == ONE


async def test_a_candidate_that_comes_to_serve_is_not_loaded_again() -> None:
    async with started(ONE) as stage:
        await stage.chosen(TWO.name)
        stage.shelf.want(TWO)
        await stage.until(lambda: stage.adapting.serving == TWO)
        assert stage.shelf.fetched.count(TWO.name) == 1


@pytest.mark.parametrize(("name", "error"), [("adapters/a/versions/none", AdapterNotFound), (TWO.name, AdapterRefused)])
async def test_a_candidate_that_cannot_be_had_is_an_error_of_that_request_only(name: str, error: type[Exception]) -> None:
    async with started(ONE) as stage:
        stage.shelf.refused[TWO.name] = "rank 64"
        with pytest.raises(error):
            await stage.adapting.prepare(name)
        assert await stage.chosen() == ONE


async def test_many_who_want_the_same_candidate_wait_for_one_load_which_outlives_them() -> None:
    async with started(ONE) as stage:
        stage.shelf.wait.clear()
        wanting = [asyncio.create_task(stage.chosen(TWO.name)) for _ in range(5)]
        await asyncio.sleep(0.01)
        wanting[0].cancel()
        stage.shelf.wait.set()
        assert await asyncio.gather(*wanting[1:]) == [TWO] * 4
        assert stage.shelf.fetched.count(TWO.name) == 1


async def test_candidates_take_turns_within_the_engines_slots() -> None:
    async with started(ONE) as stage:
        for _ in range(3):
            for adapter in (TWO, THREE, FOUR, FIVE):
                assert await stage.chosen(adapter.name) == adapter
        await stage.until(lambda: len(stage.host.loaded) <= 3)
        assert ONE in stage.host.loaded
        assert stage.shelf.local == stage.host.loaded


async def test_a_candidate_is_not_let_go_while_a_text_needs_it_and_what_serves_can_still_change() -> None:
    async with started(ONE) as stage:
        async with AsyncExitStack() as texts:
            for name in ("", TWO.name, THREE.name):
                await texts.enter_async_context(stage.adapting.chosen(name))
            with pytest.raises(QueueFull):
                await stage.adapting.prepare(FOUR.name)
            stage.shelf.want(FIVE)
            await stage.until(lambda: stage.adapting.serving == FIVE)
            assert stage.host.loaded == {ONE, TWO, THREE, FIVE}
        assert await stage.chosen(FOUR.name) == FOUR


async def test_switching_back_and_forth_under_load_never_writes_with_what_is_not_loaded() -> None:
    async with started(ONE) as stage:
        seen: set[Adapter] = set()

        async def client(number: int) -> None:
            for _ in range(40):
                async with stage.adapting.chosen("" if number % 3 else "base") as adapter:
                    await asyncio.sleep(0.002)
                    assert adapter == BASE or adapter in stage.host.loaded
                    seen.add(adapter)

        async def promoter() -> None:
            for adapter in (TWO, ONE, BASE, THREE, TWO):
                stage.shelf.want(adapter)
                await stage.until(lambda wanted=adapter: stage.adapting.serving == wanted)  # type: ignore[misc]

        await asyncio.gather(promoter(), *(client(number) for number in range(12)))
        assert {ONE, TWO, BASE} <= seen
