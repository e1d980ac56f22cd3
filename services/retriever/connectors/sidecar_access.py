"""Who may read a file of a directory: its sidecar says it, or its front matter, or the nearest folder's `.access.json`.

The more specific one holds. One that is there and cannot be read, or says something that is not understood, means nobody.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import Any

import yaml

from services.retriever.access import NOBODY, Access
from services.retriever.connectors import access_lists
from services.retriever.connectors.json_values import parsed
from services.retriever.directory_source import open_within

ENDING = ".access.json"
"""Of a sidecar; alone, the name of a folder's."""
MAX_BYTES = 1 << 20
MAX_FRONT_MATTER_CHARS = 64 << 10
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_SPEAKS_OF_ACCESS = re.compile(r"""^["']?access["']?[ \t]*:""", re.MULTILINE | re.IGNORECASE)


class Sidecars:
    """The sidecars of one directory as they are at this visit. Blocking."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[PurePath, Access | None] = {}

    def of_file(self, relative: PurePath, names: frozenset[str]) -> tuple[Access | None, bool]:
        """What the sidecar says, or the nearest folder; and whether it was the file's own. `names`: what its folder holds."""
        if relative.name + ENDING in names:
            return self._read(relative.with_name(relative.name + ENDING)), True
        return self._of_folder(relative.parent), False

    def _of_folder(self, folder: PurePath) -> Access | None:
        if folder not in self._folders:
            sidecar = folder / ENDING
            if os.path.lexists(self._root / sidecar):
                self._folders[folder] = self._read(sidecar)
            else:
                self._folders[folder] = None if folder == folder.parent else self._of_folder(folder.parent)
        return self._folders[folder]

    def _read(self, relative: PurePath) -> Access:
        try:
            with os.fdopen(open_within(self._root, relative), "rb") as file:
                content = file.read(MAX_BYTES + 1)
            return access_lists.read(parsed(content)) if len(content) <= MAX_BYTES else NOBODY
        except (OSError, ValueError):
            return NOBODY


def front_matter_access(content: bytes) -> Access | None:
    """What the front matter of a Markdown file says under `access`; None when it says nothing of it."""
    # Twice the characters in bytes are enough to see whether there is front matter that is too long.
    head = content[: 4 * MAX_FRONT_MATTER_CHARS].decode("utf-8", errors="replace")
    if not re.match(r"\ufeff?---[ \t]*\r?\n", head):
        return None
    found = _FRONT_MATTER.match(head)
    block = found.group(1) if found else head
    if not _SPEAKS_OF_ACCESS.search(block):
        return None
    if found is None or len(block) > MAX_FRONT_MATTER_CHARS:
        return NOBODY
    try:
        front: Any = yaml.load(block, _Loader)  # noqa: S506 a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError):
        return NOBODY
    return access_lists.read(front.get("access")) if isinstance(front, dict) and "access" in front else NOBODY


class _Loader(yaml.SafeLoader):
    """Without aliases, with which a few lines can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)
