"""Reads a directory on this machine's disk: every file of a known type below it, with who may read it.

A file's version is its size, its time of change and what its sidecars say. Nothing outside the directory is opened.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePath

from services.chassis.errors import CorellaError, InvalidArgument
from services.retriever import directory_source
from services.retriever.access import Access
from services.retriever.connectors import access_lists
from services.retriever.connectors.connector import Found, PlaceUnreachable, Seen, Unchanged, Unreadable, Visit
from services.retriever.connectors.places import ConnectorSettings, DirectoryPlace
from services.retriever.connectors.sidecar_access import ENDING, Sidecars, front_matter_access
from services.retriever.readers import MARKDOWN, mime_type_for
from services.retriever.structure import DocumentTooLarge

MAX_DEPTH = 64
"""Folders within folders; what lies deeper is not read."""


class FileUnreadable(InvalidArgument):
    """A file that is there and cannot be read."""

    reason = "FILE_UNREADABLE"


@dataclass(frozen=True)
class _File:
    relative: PurePath
    version: str
    size: int
    access: Access | None
    own: bool
    """`access` is the file's own sidecar's."""


class DirectoryConnector:
    """A `Connector` for `DirectoryPlace`."""

    def __init__(self, place: DirectoryPlace, settings: ConnectorSettings) -> None:
        self._place = place
        self._settings = settings

    async def seen(self, visit: Visit) -> AsyncGenerator[Seen]:
        """The files in the order of their paths. A folder that cannot be listed leaves `complete` False, since it may hide files.

        Raises `PlaceUnreachable` when the directory is not there or cannot be listed, `SourceNotAllowed` outside the import roots.
        """
        root = await asyncio.to_thread(self._root)
        hidden: list[PurePath] = []
        files = await asyncio.to_thread(lambda: list(self._files(root, hidden)))
        visit.expected = len(files)
        for file in files:
            key = file.relative.as_posix()
            if not visit.full and visit.known.get(key) == file.version:
                yield Unchanged(key)
                continue
            uri = directory_source.uri_of(root, file.relative, self._place.base_uri)
            try:
                yield await asyncio.to_thread(self._read, root, file, key, uri)
            except CorellaError as error:
                yield Unreadable(key, uri, error, file.access)
            except OSError as error:
                yield Unreadable(key, uri, FileUnreadable(f"The file `{key}` cannot be read: {error.strerror or error}."), file.access)
        visit.complete = not hidden

    async def close(self) -> None:
        """Nothing is kept open."""

    def _root(self) -> Path:
        try:
            listable = os.access(self._place.path, os.R_OK | os.X_OK) and Path(self._place.path).is_dir()
        except (OSError, ValueError):
            listable = False
        if not listable:
            raise PlaceUnreachable(f"The directory `{self._place.path}` is not there, or cannot be listed.")
        return directory_source.allowed(self._place.path, self._settings.import_roots)

    def _files(self, root: Path, hidden: list[PurePath]) -> Iterator[_File]:
        sidecars = Sidecars(root)
        for relative, names in _walk(root, PurePath(), hidden, 0):
            if not self._wanted(relative):
                continue
            target = Path(os.path.realpath(root / relative))
            try:
                state = target.stat()
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    hidden.append(relative)
                continue  # else gone since it was listed, or a link that leads nowhere
            if not target.is_relative_to(root) or not target.is_file():
                continue
            access, own = sidecars.of_file(relative, names)
            digest = sha256(f"{access_lists.written(access)} {own}".encode()).hexdigest()[:16]
            yield _File(relative, f"{state.st_size}-{state.st_mtime_ns}-{digest}", state.st_size, access, own)

    def _wanted(self, relative: PurePath) -> bool:
        include, exclude = self._place.include, self._place.exclude
        wanted = any(relative.match(pattern) for pattern in include) if include else mime_type_for(relative.name) is not None
        return wanted and not any(relative.match(pattern) for pattern in exclude)

    def _read(self, root: Path, file: _File, key: str, uri: str) -> Found:
        most = self._settings.document_max_bytes
        with os.fdopen(directory_source.open_within(root, file.relative), "rb") as opened:
            content = opened.read(most + 1) if file.size <= most else b""
        if file.size > most or len(content) > most:
            raise DocumentTooLarge(f"The file `{key}` is larger than {most / (1 << 20):.1f} MiB, which is the most that is read.")
        mime_type = mime_type_for(file.relative.name) or ""
        access = file.access
        if not file.own and mime_type == MARKDOWN:
            access = front_matter_access(content) or access
        folder = file.relative.parent.as_posix()
        metadata = {} if folder == "." else {"folder": folder}
        return Found(key, file.version, uri, "", mime_type, content, metadata, access)


def _walk(root: Path, folder: PurePath, hidden: list[PurePath], depth: int) -> Iterator[tuple[PurePath, frozenset[str]]]:
    """Files below a folder, sidecars left out, each with the names of all that its folder holds. Linked folders are passed over."""
    try:
        with os.scandir(root / folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
            folders = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    except OSError as error:
        if not depth:
            raise PlaceUnreachable(f"The directory `{root}` cannot be listed: {error.strerror}.") from error
        hidden.append(folder)
        return
    names = frozenset(entry.name for entry in entries)
    for entry in entries:
        relative = folder / entry.name
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            continue  # a name that is no text cannot be a key or an address
        if entry.name in folders:
            if depth < MAX_DEPTH:
                yield from _walk(root, relative, hidden, depth + 1)
            else:
                hidden.append(relative)
        elif not entry.name.endswith(ENDING):
            yield relative, names
