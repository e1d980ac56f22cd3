"""The shelf: shared storage with the adapters, at a path or any URL fsspec knows.

    {shelf_url}/serving.json                        what is to serve: `corella.v1.ServingState` in protobuf's JSON form
    {shelf_url}/adapters/{adapter}/{version}/       one version: `adapter_config.json`, `adapter_model.safetensors`, `manifest.json`

Nothing there is trusted. A version is copied to a local folder of its own, which has the files of the manifest and no others; what
vLLM is given is that copy, after it was checked.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from fsspec.core import url_to_fs
from google.protobuf import json_format

from corella.v1 import trainer_pb2
from services.chassis.checked_folder import MANIFEST, FolderMissing, FolderRefused, Manifest, fetch, read_manifest, read_whole
from services.chassis.telemetry import get_logger
from services.generator.adapter_checks import CONFIG, MAX_CONFIG_BYTES, WEIGHTS, AdapterFiles, Limits, faults, name_faults
from services.generator.domain import ADAPTER_VERSION, Adapter, AdapterNotFound, AdapterRefused, ShelfUnavailable
from services.generator.ports import DesiredAdapter
from services.generator.safetensors_headers import read_header
from services.generator.settings import AdapterSettings

log = get_logger(__name__)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_STATE = "serving.json"
_STATE_SECONDS = 3.0
_STATE_MAX_BYTES = 2**20
Result = TypeVar("Result")


class FsspecShelf:
    """Reads the shelf and never writes to it. `limits` and `fingerprint` are the base model's; empty fingerprint: not known."""

    def __init__(self, settings: AdapterSettings, limits: Limits, fingerprint: str) -> None:
        self._url = settings.shelf_url.rstrip("/")
        self._cache = settings.cache_folder
        self._settings = settings
        self._limits = limits
        self._fingerprint = fingerprint
        # Threads of its own: storage that hangs then holds these two, and not those that everything else needs.
        self._state_thread = ThreadPoolExecutor(1, "shelf-state")
        self._fetch_thread = ThreadPoolExecutor(1, "shelf-fetch")

    async def desired(self) -> DesiredAdapter | None:
        return await self._run(self._state_thread, self._desired, _STATE_SECONDS)

    async def fetch(self, name: str, digest: str = "") -> tuple[Adapter, Path]:
        return await self._run(self._fetch_thread, lambda: self._fetch(name, digest), self._settings.timeout_seconds)

    async def forget(self, adapter: Adapter) -> None:
        # In the thread that fetches, so that it never removes what is just being fetched again.
        try:
            await self._run(self._fetch_thread, lambda: shutil.rmtree(self._folder(adapter), ignore_errors=True), _STATE_SECONDS)
        except ShelfUnavailable:
            log.warning("adapter_files_left", adapter=adapter.name)

    async def keep_only(self, adapters: Collection[Adapter]) -> None:
        await asyncio.to_thread(self._keep_only, {self._folder(adapter).name for adapter in adapters})

    def close(self) -> None:
        """Lets the threads end."""
        self._state_thread.shutdown(wait=False, cancel_futures=True)
        self._fetch_thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, thread: ThreadPoolExecutor, call: Callable[[], Result], seconds: float) -> Result:
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(thread, call), seconds)
        except (AdapterNotFound, AdapterRefused):
            raise
        except TimeoutError as error:
            raise ShelfUnavailable("The shelf with the adapters does not answer.") from error
        except Exception as error:
            # Each kind of storage has errors of its own; what they say may hold addresses and keys, so only their kind is told.
            raise ShelfUnavailable(f"The shelf with the adapters cannot be read ({type(error).__name__}).") from error

    def _desired(self) -> DesiredAdapter | None:
        raw = read_whole(f"{self._url}/{_STATE}")
        if raw is None:
            return None
        state = trainer_pb2.ServingState()
        try:
            given = json.loads(raw[:_STATE_MAX_BYTES])
            if not isinstance(given, dict):
                raise ValueError("not an object")
            json_format.ParseDict(given, state, ignore_unknown_fields=True)
        except (json_format.ParseError, ValueError, RecursionError) as error:
            raise AdapterRefused(_STATE, "what is to serve cannot be read from it") from error
        if state.adapter and not (ADAPTER_VERSION.fullmatch(state.adapter) and _DIGEST.fullmatch(state.digest)):
            raise AdapterRefused(state.adapter[:120], "it is not named as versions are, or has no digest")
        return DesiredAdapter(state.adapter, state.digest if state.adapter else "", state.generation)

    def _fetch(self, name: str, digest: str) -> tuple[Adapter, Path]:
        match = ADAPTER_VERSION.fullmatch(name)
        if match is None:
            raise AdapterNotFound(name)
        url = f"{self._url}/adapters/{match[1]}/{match[2]}"
        try:
            manifest = read_manifest(url)
            self._check_manifest(name, url, manifest, digest)
            adapter = _adapter(name, manifest)
            target = self._folder(adapter)
            self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            if target.is_dir() and {path.name for path in target.iterdir()} != set(manifest.files):
                shutil.rmtree(target)
            folder = fetch(url, target, manifest, self._settings.max_bytes)
        except FolderMissing as error:
            raise AdapterNotFound(name) from error
        except FolderRefused as error:
            raise AdapterRefused(name, str(error)) from error
        found = faults(read_files(folder), self._limits)
        if found:
            shutil.rmtree(folder, ignore_errors=True)
            raise AdapterRefused(name, "; ".join(found))
        return adapter, folder.absolute()

    def _folder(self, adapter: Adapter) -> Path:
        return self._cache / f"{adapter.digest}-{adapter.name.replace('/', '.')}"

    def _check_manifest(self, name: str, url: str, manifest: Manifest, digest: str) -> None:
        """Whatever can be told before anything is copied. Raises `AdapterRefused`."""
        found = name_faults(manifest.files) or name_faults(_listed(url) - {MANIFEST})
        if digest and manifest.digest != digest:
            found.append("its files do not have the digest that is to serve")
        notes: Mapping[str, str] = manifest.annotations
        if notes.get("name", name) != name:
            found.append("it is another version's folder")
        if self._fingerprint and notes.get("base_fingerprint") != self._fingerprint:
            found.append("it was trained on another base model than the one that is served")
        if found:
            raise AdapterRefused(name, "; ".join(found))

    def _keep_only(self, names: set[str]) -> None:
        if self._cache.is_dir():
            for path in self._cache.iterdir():
                # Nothing but what this class makes: a folder set by mistake must not be emptied.
                if path.is_dir() and _DIGEST.search(path.name) and path.name not in names:
                    shutil.rmtree(path, ignore_errors=True)


def _adapter(name: str, manifest: Manifest) -> Adapter:
    traceparent = manifest.annotations.get("traceparent", "")
    # Older manifests have none. One that is none leads nowhere, which is no reason not to serve what was trained.
    return Adapter(name, manifest.digest, manifest.annotations.get("job", ""), traceparent if _TRACEPARENT.fullmatch(traceparent) else "")


def read_files(folder: Path) -> AdapterFiles:
    """What the checks look at of the files in a local folder. Blocking."""
    names = frozenset(path.name for path in folder.iterdir())
    config = header = b""
    weights_bytes = 0
    if (folder / CONFIG).is_file():
        with (folder / CONFIG).open("rb") as file:
            config = file.read(MAX_CONFIG_BYTES)
    if (folder / WEIGHTS).is_file():
        header, weights_bytes = read_header(folder / WEIGHTS)
    return AdapterFiles(names, config, header, weights_bytes)


def _listed(url: str) -> set[str]:
    """Names of everything in the folder at `url`, as it is now."""
    storage, root = url_to_fs(url)
    storage.invalidate_cache(root)
    return {str(path).rstrip("/").rpartition("/")[2] for path in storage.ls(root, detail=False)}
