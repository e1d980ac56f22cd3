"""Summary tokens: what they hold, who can open them, and when not."""

from __future__ import annotations

import stat
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from services.generator.domain import MemoryState, Recollection, Summary, SummaryTokenExpired, SummaryTokenInvalid, Turn
from services.generator.fernet_tokens import FernetTokens, make_keys, read_keys

OLD, NEW = Fernet.generate_key(), Fernet.generate_key()
TURNS = tuple(Turn(f"Question {number}?", f"Answer {number}.", f"Alone {number}?") for number in range(5))
REMEMBERED = Recollection(Summary("They spoke of the Falcon X200.", 9, 5), TURNS, 5)


def test_another_replica_with_the_same_keys_opens_it() -> None:
    token, expires = FernetTokens([NEW], 3600).seal(REMEMBERED)
    opened = FernetTokens([NEW], 3600).open(token)
    assert opened.summary == REMEMBERED.summary
    assert opened.turns == TURNS[-3:]
    assert (opened.turn_count, opened.state) == (5, MemoryState.RECALLED)
    assert 3590 < (expires - datetime.now(UTC)).total_seconds() <= 3600


def test_nothing_can_be_read_in_it() -> None:
    token, _ = FernetTokens([NEW], 3600).seal(REMEMBERED)
    assert b"Falcon" not in token


def test_after_a_rotation_old_tokens_open_and_new_ones_are_sealed_with_the_new_key() -> None:
    before, _ = FernetTokens([OLD], 3600).seal(REMEMBERED)
    rotated = FernetTokens([NEW, OLD], 3600)
    assert rotated.open(before).turn_count == 5
    after, _ = rotated.seal(REMEMBERED)
    assert FernetTokens([NEW], 3600).open(after).turn_count == 5
    with pytest.raises(SummaryTokenInvalid):
        FernetTokens([NEW], 3600).open(before)


@pytest.mark.parametrize("place", [0, 1, 20, 60, -20, -1])
def test_a_token_changed_anywhere_is_refused(place: int) -> None:
    token = bytearray(FernetTokens([NEW], 3600).seal(REMEMBERED)[0])
    # The last character before the padding carries bits that decode to nothing, so another letter is put in, not a bit flipped.
    token[place] = ord("A") if token[place] != ord("A") else ord("B")
    with pytest.raises(SummaryTokenInvalid):
        FernetTokens([NEW], 3600).open(bytes(token))


@pytest.mark.parametrize("token", [b"x", b"\xff\x00", "ü".encode(), b"gAAAA", b"=" * 100])
def test_what_is_no_token_is_refused(token: bytes) -> None:
    with pytest.raises(SummaryTokenInvalid):
        FernetTokens([NEW], 3600).open(token)


def test_an_old_token_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = FernetTokens([NEW], 10)
    token, _ = tokens.seal(REMEMBERED)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 12)
    with pytest.raises(SummaryTokenExpired):
        tokens.open(token)


def test_long_turns_do_not_make_long_tokens() -> None:
    turns = tuple(Turn("ä€" * 2000, "b" * 20_000) for _ in range(12))
    token, _ = FernetTokens([NEW], 10).seal(Recollection(turns=turns, turn_count=12))
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
    ("text", "said"), [("", "no key"), ("# none\n", "no key"), ("abc\n", "key 1 is not"), (f"{OLD.decode()}\nx", "key 2")]
)
def test_a_file_without_proper_keys_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_keys(path)
