"""Finds the documents below the paths somebody names, and says of each file that is left out why."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".txt": "text/plain",
    ".json": "application/vnd.corella.ticket+json",
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".csv": "text/csv",
}
MAX_BYTES = 50 * 2**20
"""Largest document the contract allows."""
_TICKET_KEYS = {"key", "summary"}


@dataclass(frozen=True)
class Found:
    """One document on disk."""

    path: Path
    uri: str
    mime_type: str
    size: int


@dataclass
class Findings:
    """What lies below the paths."""

    documents: list[Found] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(path, why it was left out)"""
    other_count: int = 0
    """Files whose ending names no known type."""

    def skip(self, path: Path, why: str) -> None:
        """Notes a file that is left out."""
        self.skipped.append((str(path), why))


def find(paths: Sequence[Path], base_url: str = "") -> Findings:
    """Every document among the paths and below the folders among them, in the order of their names.

    Hidden files and folders are passed over. With `base_url` a document's URI is that followed by its path within the folder named, else
    it is `file://` and its absolute path.
    """
    findings = Findings()
    seen: set[str] = set()
    for path in paths:
        root = path if path.is_dir() else path.parent
        for file in _walk(path, findings) if path.is_dir() else [path]:
            uri = _uri(file, root, base_url)
            if uri in seen:
                continue
            seen.add(uri)
            _take(file, uri, findings)
    return findings


def _walk(root: Path, findings: Findings) -> Iterator[Path]:
    inside = root.resolve()

    def unreadable(error: OSError) -> None:
        findings.skip(Path(error.filename), error.strerror or "cannot be read")

    for folder, folders, files in os.walk(root, onerror=unreadable, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if (Path(folder) / name).is_symlink():
                findings.skip(Path(folder) / name, "is a symbolic link to a folder; such links are not followed")
        for name in sorted(files):
            file = Path(folder) / name
            if name.startswith("."):
                continue
            # Unlike Path.resolve, realpath does not raise for a link that leads to itself.
            if file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(inside):
                findings.skip(file, "is a symbolic link that leads out of the folder")
                continue
            yield file


def _take(file: Path, uri: str, findings: Findings) -> None:
    mime_type = TYPES.get(file.suffix.lower())
    if mime_type is None:
        findings.other_count += 1
        return
    try:
        if not file.is_file():
            findings.skip(file, "is not a file" if file.exists() else "does not exist")
            return
        size = file.stat().st_size
        if size > MAX_BYTES:
            findings.skip(file, f"is larger than {MAX_BYTES // 2**20} MiB")
        elif not os.access(file, os.R_OK):
            findings.skip(file, "may not be read")
        elif mime_type.endswith("json") and not _is_ticket(file):
            findings.skip(file, "is JSON, but not a ticket (see docs/tickets.md)")
        else:
            findings.documents.append(Found(file, uri, mime_type, size))
    except OSError as error:
        findings.skip(file, error.strerror or "cannot be read")


def _is_ticket(file: Path) -> bool:
    try:
        value = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.keys() >= _TICKET_KEYS


def _uri(file: Path, root: Path, base_url: str) -> str:
    if not base_url:
        return file.absolute().as_uri()
    relative = file.relative_to(root).as_posix()
    return f"{base_url.rstrip('/')}/{quote(os.fsencode(relative))}"
