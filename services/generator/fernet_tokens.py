"""Summary tokens: what is remembered of a conversation, compressed, encrypted and authenticated, for the client to keep.

Fernet (https://github.com/fernet/spec): AES-128-CBC and HMAC-SHA-256. The newest key seals, every key opens; put a new key in front,
and take the old one out once its last token has expired.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from services.generator.domain import EPOCH, MemoryState, Recollection, Summary, SummaryTokenExpired, SummaryTokenInvalid, Turn

_VERSION = 1
_KEPT_TURNS = 3
_KEPT_CHARACTERS = 600


class FernetTokens:
    """Seals and opens. Every replica with the same keys opens what another sealed."""

    def __init__(self, keys: list[bytes], expiry_seconds: float) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._expiry_seconds = expiry_seconds

    def seal(self, recollection: Recollection) -> tuple[bytes, datetime]:
        expires = int(time.time() + self._expiry_seconds)
        # The latest turns go along word for word: a follow-up mostly refers to them, and a summary may have missed the point.
        turns = [
            [turn.question[:_KEPT_CHARACTERS], turn.answer[:_KEPT_CHARACTERS], turn.standalone_question[:_KEPT_CHARACTERS]]
            for turn in recollection.turns[-_KEPT_TURNS:]
        ]
        summary = recollection.summary
        content = {
            "version": _VERSION,
            "expires": expires,
            "summary": [summary.text, summary.tokens, summary.turn_count],
            "turns": turns,
            "turn_count": recollection.turn_count,
        }
        return self._fernet.encrypt(zlib.compress(json.dumps(content).encode(), 9)), datetime.fromtimestamp(expires, UTC)

    def open(self, token: bytes) -> Recollection:
        try:
            content = json.loads(zlib.decompress(self._fernet.decrypt(token)))
        except (InvalidToken, zlib.error, ValueError) as error:
            raise SummaryTokenInvalid("The summary token was not made here, or was changed on its way.") from error
        if content["version"] != _VERSION:
            raise SummaryTokenInvalid(f"The summary token is of version {content['version']}; this server reads version {_VERSION}.")
        if content["expires"] < time.time():
            raise SummaryTokenExpired("The summary token has expired; ask without it.")
        return Recollection(
            summary=Summary(*content["summary"]),
            turns=tuple(Turn(question, answer, standalone, EPOCH) for question, answer, standalone in content["turns"]),
            turn_count=content["turn_count"],
            state=MemoryState.RECALLED,
        )


def read_keys(path: Path) -> list[bytes]:
    """Keys from a file, one a line, the newest first; lines beginning with `#` are left out."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    keys = [line.encode() for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ValueError(f"{path} holds no key")
    for number, key in enumerate(keys, 1):
        try:
            Fernet(key)
        except ValueError as error:
            raise ValueError(f"{path}: key {number} is not a Fernet key (32 bytes, URL-safe base64)") from error
    return keys


def make_keys(path: Path) -> None:
    """Makes a file with one new key, readable by its owner only, unless there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Made with its final rights and whole under another name: no moment at which others could read it, or half of it.
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
