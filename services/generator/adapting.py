"""Which adapter writes: the one the shelf says is to serve, or one that a request names.

Every replica looks at the shelf for itself, before it is ready and then again and again, so that all come to the same version without
anybody telling them, and a restarted one comes back with it. A text keeps the adapter it began with; an adapter is let go only when
no text needs it any more. Does not know about protobuf, storage or vLLM.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.chassis.errors import CorellaError
from services.chassis.steps import add_link, step
from services.chassis.telemetry import SECONDS, get_logger, meter
from services.generator.domain import BASE, BASE_NAME, Adapter, AdapterRefused, AdaptersOff, QueueFull, ShelfUnavailable
from services.generator.ports import AdapterHost, DesiredAdapter, Shelf

log = get_logger(__name__)
_refused = meter.create_counter(
    "corella.generator.adapter.refused", unit="{adapter}", description="Versions that were to serve, or were named, and cannot; by reason."
)
_switched = meter.create_counter("corella.generator.adapter.switched", unit="{switch}", description="Changes of what serves.")
_load_seconds = meter.create_histogram(
    "corella.generator.adapter.load.duration",
    unit="s",
    description="Time to fetch, check and load one.",
    explicit_bucket_boundaries_advisory=SECONDS,
)

_MAX_WAIT_SECONDS = 15.0


@dataclass
class _Loaded:
    """An adapter the engine has, with how many texts it is writing."""

    adapter: Adapter
    users: int = 0
    used_at: float = 0.0


class Adapting:
    """Keeps the engine at what is to serve. Without a shelf that is the base model, always.

    `start` before the first text; `serving` is what writes where a request names nothing.
    """

    def __init__(self, host: AdapterHost, shelf: Shelf | None, *, max_candidates: int = 2, poll_seconds: float = 1.0) -> None:
        self._host = host
        self._shelf = shelf
        # Beside the candidates: the one that serves, and the one that served before, as long as texts need it.
        self._room = max_candidates + 2
        self._max_candidates = max_candidates
        self._poll_seconds = poll_seconds
        self._loaded: dict[Adapter, _Loaded] = {}
        self._loading: dict[tuple[str, str], asyncio.Task[Adapter]] = {}
        self._changing = asyncio.Lock()
        self._wanted: DesiredAdapter | None = None
        self._wait = 0.0
        self._again = 0.0
        self._told = ""
        self._following: asyncio.Task[None] | None = None
        self.serving = BASE

    async def start(self) -> None:
        """Returns once what is to serve serves. As long as that cannot be had it tries again, and a change on the shelf heals it."""
        if self._shelf is None:
            return
        while not await self.reconcile():  # noqa: ASYNC110 the shelf tells nobody when it changes
            await asyncio.sleep(self._poll_seconds)
        await self._shelf.keep_only(list(self._loaded))
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stops looking at the shelf."""
        tasks = [task for task in (self._following, *self._loading.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def reconcile(self) -> bool:
        """Brings the engine to what is to serve now, and tells whether it is there. What serves goes on where it cannot be brought.

        A version that could not be had is tried less and less often, until something else is to serve.
        """
        assert self._shelf is not None
        wanted = DesiredAdapter()
        try:
            found = await self._shelf.desired()
            if found is None:
                if self._wanted is not None:
                    # It was there and is not: storage that lost its content, or is not mounted, must not change what serves.
                    raise ShelfUnavailable("The shelf does not say any more what is to serve.")
                return True
            wanted = found
            if wanted != self._wanted:
                self._wanted, self._wait, self._again = wanted, 0.0, 0.0
            if time.monotonic() < self._again:
                return False
            await self._serve(wanted)
        except CorellaError as error:
            self._wait = min(max(self._wait * 2, self._poll_seconds), _MAX_WAIT_SECONDS)
            self._again = time.monotonic() + self._wait
            self._tell(error, wanted)
            return False
        self._told, self._wait = "", 0.0
        return True

    async def prepare(self, name: str) -> None:
        """Sees to it that a text can begin at once with what `name` says; raises as `chosen`. For those who have other work before."""
        async with self.chosen(name):
            pass

    @asynccontextmanager
    async def chosen(self, name: str) -> AsyncIterator[Adapter]:
        """The adapter to write a text with, held ready until the text is written.

        `name` is a version, `base`, or empty for what serves at this moment. A version is fetched when it is not there yet; it does not
        come to serve by that. Raises `AdapterNotFound`, `AdapterRefused`, `AdaptersOff`, `ShelfUnavailable`, `QueueFull`.
        """
        if name == BASE_NAME:
            yield BASE
            return
        if name and self._shelf is None:
            raise AdaptersOff
        if not name and self.serving == BASE:
            yield BASE
            return
        loaded = self._loaded[self.serving] if not name else None
        while loaded is None:
            # Between its load and this line it may have been let go again for another.
            loaded = self._loaded.get(await self._candidate(name))
        # Nothing was awaited since it was found, so it is still there.
        loaded.users += 1
        try:
            yield loaded.adapter
        finally:
            loaded.users -= 1
            loaded.used_at = time.monotonic()

    async def _candidate(self, name: str) -> Adapter:
        found = [loaded for loaded in self._loaded.values() if loaded.adapter.name == name]
        if found:
            return max(found, key=lambda loaded: (loaded.adapter == self.serving, loaded.used_at)).adapter
        try:
            return await self._bring(name, "")
        except AdapterRefused as error:
            _refused.add(1, {"reason": error.reason, "candidate": True})
            raise

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self.reconcile()
                await self._let_go()
            except Exception:
                # A bug must not end the loop: the replica would stay at this version for ever, and nobody would know.
                log.exception("adapter_loop_failed")

    async def _serve(self, wanted: DesiredAdapter) -> None:
        if (wanted.name, wanted.digest) == (self.serving.name, self.serving.digest):
            return
        adapter = await self._bring(wanted.name, wanted.digest) if wanted.name else BASE
        before, self.serving = self.serving, adapter
        _switched.add(1)
        log.info("adapter_serves", adapter=adapter.name, digest=adapter.digest, before=before.name, generation=wanted.generation)

    async def _bring(self, name: str, digest: str) -> Adapter:
        """The version, loaded. Several who want it at once wait for one load, which goes on when they leave."""
        for loaded in self._loaded.values():
            if (loaded.adapter.name, loaded.adapter.digest) == (name, digest):
                return loaded.adapter
        key = (name, digest)
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(name, digest))
            task.add_done_callback(lambda done: (self._loading.pop(key, None), done.cancelled() or done.exception()))
        return await asyncio.shield(task)

    async def _load(self, name: str, digest: str) -> Adapter:
        assert self._shelf is not None
        began = time.perf_counter()
        with step("load adapter", {"corella.adapter.name": name}) as span:
            adapter, folder = await self._shelf.fetch(name, digest)
            span.set_attribute("corella.adapter.job", adapter.job)
            add_link(span, adapter.traceparent, "adapter.training")
            async with self._changing:
                if adapter in self._loaded:
                    return adapter
                await self._make_room(for_candidate=not digest)
                try:
                    await self._host.load_adapter(adapter, folder)
                except AdapterRefused:
                    await self._shelf.forget(adapter)
                    raise
                self._loaded[adapter] = _Loaded(adapter, used_at=time.monotonic())
        seconds = time.perf_counter() - began
        _load_seconds.record(seconds)
        log.info("adapter_loaded", adapter=name, digest=adapter.digest, seconds=round(seconds, 3))
        return adapter

    async def _make_room(self, *, for_candidate: bool) -> None:
        """Lets go what nobody needs until there is room for one more. Called with `_changing` held. Raises `QueueFull`."""
        idle = sorted((each for each in self._loaded.values() if self._is_idle(each)), key=lambda each: each.used_at)
        # A candidate never takes the room that a change of what serves needs.
        room = self._room - (2 if for_candidate else 0)
        others = len(self._loaded) - (1 if for_candidate and self.serving in self._loaded else 0)
        while others >= room:
            if not idle:
                message = f"Texts are being written with {others} adapter versions; try again."
                raise QueueFull(message, retry_after_seconds=2.0, limit=self._max_candidates)
            await self._unload(idle.pop(0).adapter)
            others -= 1

    async def _let_go(self) -> None:
        """Lets go what has served, and candidates beyond those that are held ready."""
        async with self._changing:
            idle = sorted((each for each in self._loaded.values() if self._is_idle(each)), key=lambda each: each.used_at)
            for each in idle[: max(len(idle) - self._max_candidates, 0)]:
                await self._unload(each.adapter)

    def _is_idle(self, loaded: _Loaded) -> bool:
        adapter = loaded.adapter
        coming = self._wanted is not None and (adapter.name, adapter.digest) == (self._wanted.name, self._wanted.digest)
        return loaded.users == 0 and adapter != self.serving and not coming

    async def _unload(self, adapter: Adapter) -> None:
        # First out of sight, so that no text begins with it while the engine lets it go.
        del self._loaded[adapter]
        await self._host.unload_adapter(adapter)
        # Whoever fetches it again meanwhile needs the files.
        if self._shelf is not None and all(name != adapter.name for name, _ in self._loading):
            await self._shelf.forget(adapter)

    def _tell(self, error: CorellaError, wanted: DesiredAdapter) -> None:
        """Logs and counts what keeps the engine from what is to serve; once, however often it is tried."""
        told = f"{wanted}{error.reason}{error.message}"
        if told == self._told:
            return
        self._told = told
        _refused.add(1, {"reason": error.reason, "candidate": False})
        log.error(
            "adapter_not_served", adapter=wanted.name, digest=wanted.digest, generation=wanted.generation, reason=error.reason,
            why=error.message, serving=self.serving.name,
        )  # fmt: skip
