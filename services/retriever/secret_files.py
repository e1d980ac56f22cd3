"""Secrets of sources: files in one folder of the deployment. A source names its file; what is in it goes to whom it is for alone."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from services.retriever.connectors.places import Secret
from services.retriever.domain import SourceNotAllowed
from services.retriever.source_domain import SecretMissing

SECRET_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
"""A plain file name: no folder, no hidden file."""
_MAX_BYTES = 16 << 10


class SecretFiles:
    """Reads secrets when they are needed, so that a changed file counts from the next sync on."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def check(self, name: str) -> None:
        """Raises `SourceNotAllowed` where there can be no such secret, `SecretMissing` where there is none."""
        self.read(name)

    def read(self, name: str) -> Secret:
        """The secret. Raises `SourceNotAllowed`, `SecretMissing`; neither says what a file holds."""
        if not SECRET_NAME.fullmatch(name):
            raise SourceNotAllowed("A secret is named by a file of the deployment's folder of secrets, without any path.")
        if self._folder is None:
            raise SourceNotAllowed("This deployment has no folder of secrets (`secrets_folder`).")
        missing = SecretMissing(f"There is no secret `{name}` in this deployment's folder of secrets.", secret=name)
        try:
            # Deployments mount secrets as links within the folder; one that leads elsewhere is not followed.
            path = Path(os.path.realpath(self._folder / name))
            if not path.is_relative_to(os.path.realpath(self._folder)):
                raise missing
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise missing
                content = file.read(_MAX_BYTES + 1)
        except OSError:
            raise missing from None
        try:
            value = content.decode().strip()
        except UnicodeDecodeError:
            value = ""
        if not value or len(content) > _MAX_BYTES or not value.isprintable():
            raise SecretMissing(f"The secret `{name}` is empty, too large, or not one line of text.", secret=name)
        return Secret(value)
