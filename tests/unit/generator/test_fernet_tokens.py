"""Summary tokens: what they hold, who can open them, and when not."""

from __future__ import annotations

import json
import secrets
import stat
import time
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from services.generator.domain import MemoryState, Recollection, Summary, SummaryTokenExpired, SummaryTokenInvalid, Turn
from services.generator.fernet_tokens import FernetTokens, make_keys, read_keys
from services.generator.owning import Owner
from services.generator.redacting import MAX_SOURCES

ANN = Owner("acme", "user ann")
OLD, NEW = Fernet.generate_key(), Fernet.generate_key()
TURNS = tuple(Turn(f"Question {number}?", f"Answer {number}.", f"Alone {number}?") for number in range(5))
REMEMBERED = Recollection(Summary("They spoke of the Falcon X200.", 9, 5), TURNS, 5)


def test_another_replica_with_the_same_keys_opens_it() -> None:
    token, expires = FernetTokens([NEW], 3600).seal(REMEMBERED, ANN)
    opened = FernetTokens([NEW], 3600).open(token, ANN)
    assert opened.summary == REMEMBERED.summary
    assert opened.turns == TURNS[-3:]
    assert (opened.turn_count, opened.state) == (5, MemoryState.RECALLED)
    assert 3590 < (expires - datetime.now(UTC)).total_seconds() <= 3600


def test_nothing_can_be_read_in_it() -> None:
    token, _ = FernetTokens([NEW], 3600).seal(REMEMBERED, ANN)
    assert b"Falcon" not in token


def test_after_a_rotation_old_tokens_open_and_new_ones_are_sealed_with_the_new_key() -> None:
    before, _ = FernetTokens([OLD], 3600).seal(REMEMBERED, ANN)
    rotated = FernetTokens([NEW, OLD], 3600)
    assert rotated.open(before, ANN).turn_count == 5
    after, _ = rotated.seal(REMEMBERED, ANN)
    assert FernetTokens([NEW], 3600).open(after, ANN).turn_count == 5
    with pytest.raises(SummaryTokenInvalid):
        FernetTokens([NEW], 3600).open(before, ANN)


@pytest.mark.parametrize("place", [0, 1, 20, 60, -20, -1])
def test_a_token_changed_anywhere_is_refused(place: int) -> None:
    token = bytearray(FernetTokens([NEW], 3600).seal(REMEMBERED, ANN)[0])
    # The last character before the padding carries bits that decode to nothing, so another letter is put in, not a bit flipped.
    token[place] = ord("A") if token[place] != ord("A") else ord("B")
    with pytest.raises(SummaryTokenInvalid):
        FernetTokens([NEW], 3600).open(bytes(token), ANN)


@pytest.mark.parametrize("token", [b"x", b"\xff\x00", "ü".encode(), b"gAAAA", b"=" * 100])
def test_what_is_no_token_is_refused(token: bytes) -> None:
    with pytest.raises(SummaryTokenInvalid):
        FernetTokens([NEW], 3600).open(token, ANN)


def test_an_old_token_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = FernetTokens([NEW], 10)
    token, _ = tokens.seal(REMEMBERED, ANN)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 12)
    with pytest.raises(SummaryTokenExpired):
        tokens.open(token, ANN)


def test_long_turns_do_not_make_long_tokens() -> None:
    turns = tuple(Turn("ä€" * 2000, "b" * 20_000) for _ in range(12))
    token, _ = FernetTokens([NEW], 10).seal(Recollection(turns=turns, turn_count=12), ANN)
    assert len(token) < 16_384


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "keys"
    make_keys(path)
    first = read_keys(path)
    make_keys(path)
    assert read_keys(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["keys"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no key"), ("# none\n", "no key"), ("abc\n", "key 1 is not"), (f"{OLD.decode()}\nx", "key 2")],
    ids=["empty", "a comment", "no key", "a good one and a bad one"],
)
def test_a_file_without_proper_keys_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_keys(path)


@pytest.mark.parametrize("other", [Owner("acme", "user bob"), Owner("default", "user ann"), Owner("acme", "token ann"), Owner("acme", "")])
def test_somebody_elses_token_is_refused(other: Owner) -> None:
    token, _ = FernetTokens([NEW], 3600).seal(REMEMBERED, ANN)
    with pytest.raises(SummaryTokenInvalid, match="somebody else"):
        FernetTokens([NEW], 3600).open(token, other)


def test_a_token_says_what_its_text_stems_from() -> None:
    turns = (replace(TURNS[0], sources=("c1", "c2")), TURNS[1], replace(TURNS[2], sources=("c2",)))
    remembered = Recollection(Summary("Spoken.", 1, 3, ("c2", "c3")), turns, 3)
    opened = FernetTokens([NEW], 10).open(FernetTokens([NEW], 10).seal(remembered, ANN)[0], ANN)
    assert (opened.summary, opened.turns) == (remembered.summary, turns)


def test_many_sources_do_not_make_long_tokens() -> None:
    names = [f"corpora/manuals/documents/{secrets.token_hex(16)}/chunks/{secrets.token_hex(16)}" for _ in range(MAX_SOURCES)]
    turns = tuple(Turn("ä€" * 2000, "b" * 20_000, sources=tuple(names[:5])) for _ in range(3))
    token, _ = FernetTokens([NEW], 10).seal(Recollection(Summary("s" * 500, 96, 3, tuple(names)), turns, 3), ANN)
    assert len(token) < 16_384


def test_a_token_of_an_earlier_version_has_expired_because_nobody_knows_what_it_stems_from() -> None:
    content = {"version": 1, "expires": time.time() + 60, "summary": ["x", 1, 1], "turns": [], "turn_count": 1}
    token = Fernet(NEW).encrypt(zlib.compress(json.dumps(content).encode()))
    with pytest.raises(SummaryTokenExpired):
        FernetTokens([NEW], 10).open(token, ANN)
