"""Folders that are written once, never changed, and checked against their digest by whoever takes them.

A folder lies at a URL (a path or anything fsspec knows) with a `manifest.json` that names every file with its size and SHA-256. The
manifest is written last: without it there is no folder. Its digest is the SHA-256 over the files' names and digests, in order.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.core import url_to_fs

MANIFEST = "manifest.json"
_PIECE = 2**20
_MANIFEST_MAX_BYTES = 2**20


class FolderRefused(Exception):
    """The folder is not what it should be; the text says in what."""


class FolderMissing(FolderRefused):
    """There is no such folder, or it was never finished."""


@dataclass(frozen=True)
class FileEntry:
    """A file of a folder."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What a folder holds. `annotations` are whatever its maker wants to say of it; the digest does not cover them."""

    files: Mapping[str, FileEntry]
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over names and digests of the files, in hexadecimal."""
        listed = "".join(f"{entry.sha256}  {name}\n" for name, entry in sorted(self.files.items()))
        return hashlib.sha256(listed.encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files.values())


def publish(folder: Path, url: str, annotations: Mapping[str, str]) -> Manifest:
    """Copies the files of `folder` (no folders within) to `url` and finishes it. Blocking.

    A folder that is there already is left as it is when it holds the same files; otherwise raises `FolderRefused`.
    """
    files = {path.name: FileEntry(_sha256(path), path.stat().st_size) for path in sorted(folder.iterdir()) if path.is_file()}
    files.pop(MANIFEST, None)
    manifest = Manifest(files, dict(annotations))
    try:
        there = read_manifest(url)
    except FolderMissing:
        pass
    else:
        if there.digest != manifest.digest:
            raise FolderRefused(f"{url} is taken by other files")
        return there
    storage, root = url_to_fs(url, auto_mkdir=True)
    storage.makedirs(root, exist_ok=True)
    for name in files:
        storage.put_file(str(folder / name), f"{root}/{name}")
    write_whole(f"{url}/{MANIFEST}", json.dumps({
        "files": {name: [entry.sha256, entry.size] for name, entry in files.items()}, "annotations": dict(annotations),
    }, indent=1).encode())  # fmt: skip
    return manifest


def read_manifest(url: str) -> Manifest:
    """What the folder at `url` should hold. Raises `FolderMissing`, or `FolderRefused` for a manifest that is none. Blocking."""
    try:
        with fsspec.open(f"{url}/{MANIFEST}", "rb") as file:
            raw = file.read(_MANIFEST_MAX_BYTES)
    except FileNotFoundError as error:
        raise FolderMissing(f"{url} holds no finished folder") from error
    try:
        given = json.loads(raw)
        files = {str(name): FileEntry(str(sha256), int(size)) for name, (sha256, size) in given["files"].items()}
        annotations = {str(key): str(value) for key, value in given["annotations"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FolderRefused(f"{url}/{MANIFEST} is not a manifest") from error
    for name in files:
        if PurePosixPath(name).name != name or name in {"", ".", ".."} or "\\" in name:
            raise FolderRefused(f"{url}: `{name}` is not the name of a file")
    return Manifest(files, annotations)


def fetch(url: str, target: Path, manifest: Manifest, max_bytes: int) -> Path:
    """Copies the files a manifest names to `target`, checked, and returns it. Whole or not at all; blocking.

    A `target` that is there already is checked again. Raises `FolderRefused` when a file is missing, damaged or too large.
    """
    if manifest.size > max_bytes:
        raise FolderRefused(f"{url} has {manifest.size:,} bytes; at most {max_bytes:,} are taken")
    if target.is_dir():
        if all((target / name).is_file() and _sha256(target / name) == entry.sha256 for name, entry in manifest.files.items()):
            return target
        shutil.rmtree(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    partial.mkdir(parents=True)
    storage, root = url_to_fs(url)
    try:
        for name, entry in manifest.files.items():
            try:
                storage.get_file(f"{root}/{name}", str(partial / name))
            except FileNotFoundError as error:
                raise FolderRefused(f"{url}: the file {name} is missing") from error
            if _sha256(partial / name) != entry.sha256:
                raise FolderRefused(f"{url}: the file {name} is not the one that was published")
        try:
            partial.replace(target)
        except OSError:
            # Somebody else fetched the same folder at the same time; theirs was checked as well.
            if not target.is_dir():
                raise
        return target
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_whole(url: str, content: bytes) -> None:
    """Writes one file so that a reader sees the old content or the new, never half of one. Blocking."""
    storage, path = url_to_fs(url, auto_mkdir=True)
    if "file" in storage.protocol:
        partial = Path(f"{path}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    else:
        # Object stores show an object when it is whole.
        storage.pipe_file(path, content)


def read_whole(url: str) -> bytes | None:
    """The content of one file; None when there is none. Blocking."""
    try:
        with fsspec.open(url, "rb") as file:
            return bytes(file.read())
    except FileNotFoundError:
        return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
