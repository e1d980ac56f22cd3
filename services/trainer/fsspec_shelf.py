"""The shelf: what must be shared and must last, as files at a path or any fsspec URL.

{shelf}/
  serving.json                        what is to serve; generators follow it
  adapters/{adapter}/{version}/       immutable, with a manifest
  datasets/{dataset}/examples.jsonl
  jobs/{job}/data/                    token ids
  jobs/{job}/{attempt}/               checkpoints and result of one training
  jobs/{job}/report/                  Markdown, pictures, cases
  models/{job}/                       whole models
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from fsspec.core import url_to_fs
from google.protobuf.json_format import MessageToJson, Parse, ParseError

from corella.v1 import trainer_pb2 as pb
from services.chassis import checked_folder
from services.trainer.domain import PastServing, Serving, ShelfUnavailable

T = TypeVar("T")


class FsspecShelf:
    """The shelf. Every method raises `ShelfUnavailable` when the storage cannot be reached; blocking work runs in threads."""

    def __init__(self, url: str) -> None:
        # fsspec and Ray's workers elsewhere must mean the same place, whatever directory they run in.
        self.url = (url if "://" in url else Path(url).expanduser().absolute().as_uri()).rstrip("/")

    def job_url(self, job_id: str, *parts: str) -> str:
        """Where a job keeps something."""
        return "/".join([self.url, "jobs", job_id, *parts])

    async def write(self, path: str, content: bytes) -> None:
        """Writes one file, whole or not at all."""
        await self._run(lambda: checked_folder.write_whole(f"{self.url}/{path}", content))

    async def read(self, path: str) -> bytes | None:
        """The content of one file; None when there is none."""
        return await self._run(lambda: checked_folder.read_whole(f"{self.url}/{path}"))

    async def names(self, path: str) -> list[str]:
        """Names of the files in a folder; empty when there is none."""

        def listed() -> list[str]:
            storage, root = url_to_fs(f"{self.url}/{path}")
            try:
                return sorted(str(each).rpartition("/")[2] for each in storage.ls(root, detail=False))
            except FileNotFoundError:
                return []

        return await self._run(listed)

    async def remove(self, path: str) -> None:
        """Removes a file or a folder with all it holds; nothing happens when it is not there."""

        def removed() -> None:
            storage, root = url_to_fs(f"{self.url}/{path}")
            if storage.exists(root):
                storage.rm(root, recursive=True)

        await self._run(removed)

    async def put_files(self, folder: Path, path: str) -> None:
        """Copies the files of a local folder."""

        def copied() -> None:
            storage, root = url_to_fs(f"{self.url}/{path}", auto_mkdir=True)
            storage.makedirs(root, exist_ok=True)
            for file in sorted(folder.iterdir()):
                storage.put_file(str(file), f"{root}/{file.name}")

        await self._run(copied)

    async def publish_adapter(
        self, adapter_id: str, version: str, result_url: str, annotations: Mapping[str, str]
    ) -> checked_folder.Manifest:
        """Puts a training's result on the shelf as a version. A repeat changes nothing."""

        def published() -> checked_folder.Manifest:
            with tempfile.TemporaryDirectory(prefix="corella-") as folder:
                storage, root = url_to_fs(result_url)
                for file in storage.ls(root, detail=False):
                    name = str(file).rpartition("/")[2]
                    storage.get_file(str(file), str(Path(folder) / name))
                return checked_folder.publish(Path(folder), f"{self.url}/adapters/{adapter_id}/{version}", annotations)

        return await self._run(published)

    async def serving(self) -> Serving:
        """What is to serve; the base model when nothing was ever promoted."""
        raw = await self.read("serving.json")
        if raw is None:
            return Serving()
        try:
            state = Parse(raw, pb.ServingState(), ignore_unknown_fields=True)
        except ParseError as error:
            raise ShelfUnavailable("serving.json on the shelf cannot be read.") from error
        return Serving(
            adapter=state.adapter,
            digest=state.digest,
            generation=state.generation,
            update_time=state.update_time.ToMicroseconds() / 1e6,
            history=tuple(PastServing(each.adapter, each.digest) for each in state.history),
            request_ids=tuple(state.request_ids),
        )

    async def put_serving(self, serving: Serving) -> None:
        """Changes what is to serve. Whoever calls this holds the lock on it."""
        await self.write("serving.json", MessageToJson(serving_message(serving)).encode())

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except checked_folder.FolderRefused:
            raise
        except (OSError, TimeoutError) as error:
            raise ShelfUnavailable(f"The shelf cannot be read or written: {type(error).__name__}.") from error


def serving_message(serving: Serving) -> pb.ServingState:
    """What is to serve, as a message of the contract."""
    state = pb.ServingState(
        adapter=serving.adapter,
        digest=serving.digest,
        generation=serving.generation,
        history=[pb.PastServing(adapter=each.adapter, digest=each.digest) for each in serving.history],
        request_ids=serving.request_ids,
    )
    state.update_time.FromMicroseconds(round(serving.update_time * 1e6))
    return state
