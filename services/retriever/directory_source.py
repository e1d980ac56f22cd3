"""Documents of a directory on this machine, below the roots that the deployment allows."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path, PurePath
from urllib.parse import quote

from services.chassis.errors import InvalidArgument
from services.chassis.identity import DEFAULT_TENANT
from services.retriever.domain import SourceNotAllowed
from services.retriever.readers import mime_type_for

READ_BYTES = 1 << 20


def roots_of(tenant: str, roots: Sequence[Path]) -> Sequence[Path]:
    """The directories a tenant may read below: those of the settings for the default tenant, a folder of its name in each for another."""
    return roots if tenant == DEFAULT_TENANT else [root / tenant for root in roots]


def allowed(path: str, roots: Sequence[Path]) -> Path:
    """The directory, with every link resolved. Raises `SourceNotAllowed` unless it lies below a root, `InvalidArgument` if it is none."""
    if not Path(path).is_absolute():
        raise InvalidArgument.of([("directory.path", "must be absolute")])
    resolved = Path(os.path.realpath(path))
    if not any(resolved.is_relative_to(os.path.realpath(root)) for root in roots):
        raise SourceNotAllowed(f"This deployment does not allow reading `{path}`. Allowed are directories below `import_roots`.", path=path)
    if not resolved.is_dir():
        raise InvalidArgument.of([("directory.path", "is not a directory")])
    return resolved


def files(directory: Path, include: Sequence[str], exclude: Sequence[str]) -> Iterator[PurePath]:
    """Paths of the files to read, relative to the directory, in order. Links that lead out of the directory are passed over."""
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            relative = path.relative_to(directory)
            wanted = any(relative.match(pattern) for pattern in include) if include else mime_type_for(name) is not None
            if not wanted or any(relative.match(pattern) for pattern in exclude):
                continue
            target = Path(os.path.realpath(path))
            if target.is_relative_to(directory) and target.is_file():
                yield relative


def uri_of(directory: Path, relative: PurePath, base_uri: str) -> str:
    """The URI of a file: below `base_uri` if there is one, else `file://`."""
    tail = quote(relative.as_posix())
    return f"{base_uri.rstrip('/')}/{tail}" if base_uri else f"{directory.as_uri()}/{tail}"


async def content(directory: Path, relative: PurePath) -> AsyncIterator[bytes]:
    """The bytes of a file in parts. Whatever became of the file since it was listed: no link out of the directory is followed.

    Raises `InvalidArgument` when it cannot be read.
    """
    try:
        descriptor = await asyncio.to_thread(open_within, directory, relative)
        with os.fdopen(descriptor, "rb") as file:
            while part := await asyncio.to_thread(file.read, READ_BYTES):
                yield part
    except OSError as error:
        raise InvalidArgument.of([(f"file {relative}", f"cannot be read: {error.strerror or error}")]) from error


def open_within(directory: Path, relative: PurePath) -> int:
    """A descriptor of the file, for reading. Links within the directory are resolved first; none is followed while opening.

    Raises OSError, also for what is no file. Each folder is opened by itself, so a folder that becomes a link meanwhile is refused too.
    """
    target = Path(os.path.realpath(directory / relative))
    if not target.is_relative_to(directory):
        raise OSError("it is now a link that leads out of the directory")
    *folders, name = target.relative_to(directory).parts or (".",)
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no file")
    return descriptor
