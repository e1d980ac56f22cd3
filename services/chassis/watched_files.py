"""Values that lie in files which others replace while this process runs: tokens, certificates.

A kubelet replaces mounted files by turning one link, people and scripts do it file by file. Either way the files are looked at again when
they are asked for, once a second at most, and read anew when they are others. What cannot be read, or does not belong together yet, is
said once in the log and tried again; until it is whole the former value stays.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from services.chassis.telemetry import get_logger

log = get_logger(__name__)
T = TypeVar("T")
_Signature = tuple[tuple[int, int, int] | None, ...]


class FilesRefused(ValueError):
    """Files a process cannot start with; the text says which and why, for whoever runs it."""


class WatchedFiles(Generic[T]):
    """What `read` makes of some files, as they are now. May be asked by many threads."""

    def __init__(
        self, paths: Sequence[Path], read: Callable[[], T], *, check_seconds: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Reads for the first time: raises what `read` raises, which is `FilesRefused` only. Afterwards that is logged."""
        self._paths = tuple(paths)
        self._read = read
        self._check_seconds = check_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = clock()
        self._problem = ""
        # Before reading: what changes in between is then seen as a change, and read once more.
        self._seen = self._signature()
        self._value = read()

    def current(self) -> T:
        """The value. The same object as before unless the files have changed. Never raises."""
        with self._lock:
            if self._clock() - self._looked_at >= self._check_seconds:
                self._look()
                self._looked_at = self._clock()
            return self._value

    def _look(self) -> None:
        signature = self._signature()
        if signature == self._seen:
            return
        try:
            value = self._read()
        except FilesRefused as error:
            if str(error) != self._problem:
                self._problem = str(error)
                names = [str(path) for path in self._paths]
                log.error("changed_files_not_taken", files=names, problem=self._problem, effect="what they held before stays in use")
            return
        self._value, self._seen, self._problem = value, signature, ""
        log.info("changed_files_taken", files=[str(path) for path in self._paths])

    def _signature(self) -> _Signature:
        return tuple(_identify(path) for path in self._paths)


def read_token(path: Path) -> str:
    """The bearer token in a file. Raises `FilesRefused`."""
    token = read_text(path).strip()
    if not token:
        raise FilesRefused(f"{path} is empty: there is no token to send")
    return token


def read_text(path: Path) -> str:
    """The text of a file. Raises `FilesRefused`."""
    try:
        return path.read_text()
    except OSError as error:
        raise FilesRefused(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FilesRefused(f"{path} is not text") from error


def _identify(path: Path) -> tuple[int, int, int] | None:
    """What tells one file's content from another's without reading it; links are followed."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
