"""Documents' bytes as they were handed in, in any place that fsspec reaches: a directory, S3, GCS…

Every version of every document has a blob of its own, `{corpus}/{document}/{generation}`. Equal contents are not shared: then
deleting a document deletes exactly its bytes, and no count of references can be wrong after a crash.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, cast

from fsspec.core import url_to_fs

from services.retriever.domain import BlobsUnavailable, DocumentFailure


class BlobLost(DocumentFailure):
    """The bytes are not where they should be."""

    reason = "BLOB_LOST"


class FsspecBlobs:
    """Reads and writes blobs, off the event loop."""

    def __init__(self, url: str) -> None:
        self._fs, self._root = url_to_fs(url)

    @asynccontextmanager
    async def writing(self, path: str) -> AsyncIterator[BlobWriter]:
        """A new blob. What was written stays when the block ends without an exception."""
        full = self._full(path)
        await self._run(self._fs.makedirs, full.rpartition("/")[0], exist_ok=True)
        writer = BlobWriter(self, cast(BinaryIO, await self._run(self._fs.open, full, "wb")))
        try:
            yield writer
        except BaseException:
            await self._run(writer.file.close)
            await self.delete([path])
            raise
        await self._run(writer.file.close)

    async def read(self, path: str) -> bytes:
        """All bytes. Raises `BlobLost` when there is no such blob."""
        try:
            return cast(bytes, await self._run(self._fs.cat_file, self._full(path)))
        except FileNotFoundError as error:
            raise BlobLost("The bytes of the document are no longer there; hand it in again.") from error

    async def delete(self, paths: Sequence[str]) -> None:
        """Deletes blobs; those that do not exist are passed over."""
        for path in paths:
            try:
                await self._run(self._fs.rm_file, self._full(path))
            except FileNotFoundError:
                continue

    async def count_of_document(self, corpus: str, document: str) -> int:
        """How many blobs of a document there are."""
        try:
            return len(cast(list[str], await self._run(self._fs.find, self._full(f"{corpus}/{document}"))))
        except FileNotFoundError:
            return 0

    async def delete_corpus(self, corpus: str) -> None:
        """Deletes all blobs of a corpus."""
        try:
            await self._run(self._fs.rm, self._full(corpus), recursive=True)
        except FileNotFoundError:
            return

    def _full(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"

    async def _run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return await asyncio.to_thread(function, *arguments, **options)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise BlobsUnavailable("The place where documents' bytes lie cannot be reached.") from error


class BlobWriter:
    """A blob being written, with its size and SHA-256 so far."""

    def __init__(self, blobs: FsspecBlobs, file: BinaryIO) -> None:
        self._blobs = blobs
        self._hash = hashlib.sha256()
        self.file = file
        self.size = 0

    @property
    def sha256(self) -> str:
        """Hexadecimal."""
        return self._hash.hexdigest()

    async def write(self, data: bytes) -> None:
        """Adds bytes at the end."""
        self._hash.update(data)
        self.size += len(data)
        await self._blobs._run(self.file.write, data)
