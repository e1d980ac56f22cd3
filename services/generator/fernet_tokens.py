"""Summary tokens: what is remembered of a conversation, compressed, encrypted and authenticated, for the client to keep.

A token is good for whom it was made only, and says which chunks its text stems from, so that it can be checked when it comes back.
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
from services.generator.owning import Owner
from services.generator.redacting import union

_VERSION = 2
_KEPT_TURNS = 3
_KEPT_CHARACTERS = 600


class FernetTokens:
    """Seals and opens. Every replica with the same keys opens what another sealed."""

    def __init__(self, keys: list[bytes], expiry_seconds: float) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._expiry_seconds = expiry_seconds

    def seal(self, recollection: Recollection, owner: Owner) -> tuple[bytes, datetime]:
        expires = int(time.time() + self._expiry_seconds)
        # The latest turns go along word for word: a follow-up mostly refers to them, and a summary may have missed the point.
        kept = recollection.turns[-_KEPT_TURNS:]
        summary = recollection.summary
        # Each name once; turns and summary say which by number.
        names = union(summary.sources, *(turn.sources for turn in kept))
        number = {name: index for index, name in enumerate(names)}
        turns = [
            [
                turn.question[:_KEPT_CHARACTERS],
                turn.answer[:_KEPT_CHARACTERS],
                turn.standalone_question[:_KEPT_CHARACTERS],
                [number[name] for name in turn.sources],
            ]
            for turn in kept
        ]
        content = {
            "version": _VERSION,
            "expires": expires,
            "owner": [owner.tenant, owner.user],
            "sources": names,
            "summary": [summary.text, summary.tokens, summary.turn_count, [number[name] for name in summary.sources]],
            "turns": turns,
            "turn_count": recollection.turn_count,
        }
        return self._fernet.encrypt(zlib.compress(json.dumps(content).encode(), 9)), datetime.fromtimestamp(expires, UTC)

    def open(self, token: bytes, owner: Owner) -> Recollection:
        try:
            content = json.loads(zlib.decompress(self._fernet.decrypt(token)))
        except (InvalidToken, zlib.error, ValueError) as error:
            raise SummaryTokenInvalid("The summary token was not made here, or was changed on its way.") from error
        if content["version"] < _VERSION:
            # It does not say whose it is, nor what it stems from.
            raise SummaryTokenExpired("The summary token is of an earlier version of this server; ask without it.")
        if content["version"] != _VERSION:
            raise SummaryTokenInvalid(f"The summary token is of version {content['version']}; this server reads version {_VERSION}.")
        if content["expires"] < time.time():
            raise SummaryTokenExpired("The summary token has expired; ask without it.")
        if content["owner"] != [owner.tenant, owner.user]:
            raise SummaryTokenInvalid("The summary token was made for somebody else.")
        names = content["sources"]
        text, tokens, covered, numbers = content["summary"]
        return Recollection(
            summary=Summary(text, tokens, covered, tuple(names[number] for number in numbers)),
            turns=tuple(
                Turn(question, answer, standalone, EPOCH, tuple(names[number] for number in stems))
                for question, answer, standalone, stems in content["turns"]
            ),
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
