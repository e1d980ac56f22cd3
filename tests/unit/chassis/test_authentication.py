"""The file of token hashes: what is refused at start rather than discovered at the first call."""

from __future__ import annotations

import pytest

from services.chassis.authentication import ANONYMOUS, Authenticator


def test_without_a_file_everyone_is_anonymous():
    assert Authenticator(None).authenticate([]) == ANONYMOUS


@pytest.mark.parametrize("line", ["alice", "alice:abc", f":{'0' * 64}", f"alice:{'z' * 64}"])
def test_a_malformed_line_is_named(tmp_path, line):
    path = tmp_path / "tokens"
    path.write_text(f"# comment\n{line}\n")
    with pytest.raises(ValueError, match="line 2"):
        Authenticator(path)


def test_an_empty_file_is_refused_because_nobody_could_call(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("\n# only a comment\n")
    with pytest.raises(ValueError, match="holds no token"):
        Authenticator(path)
