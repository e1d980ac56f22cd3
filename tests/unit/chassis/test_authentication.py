"""The file of token hashes: who is in it, and what is refused at start rather than discovered at the first call."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.chassis.authentication import Authenticator
from services.chassis.errors import Unauthenticated
from services.chassis.identity import LOCAL, Caller
from services.chassis.roles import ALL_ROLES
from services.chassis.settings import AuthSettings
from services.chassis.tokens_file import TokensFile

DIGEST = hashlib.sha256(b"open sesame").hexdigest()


def read(folder: Path, *lines: str) -> TokensFile:
    path = folder / "tokens"
    path.write_text("".join(f"{line}\n" for line in lines))
    return TokensFile(path)


async def test_without_authentication_everyone_is_the_owner_of_the_machine():
    assert await Authenticator(AuthSettings()).authenticate([]) == LOCAL
    assert (LOCAL.tenant, LOCAL.reads_everything, LOCAL.roles) == ("default", True, ALL_ROLES)


@pytest.mark.parametrize(
    ("rest", "caller"),
    [
        ("", Caller("x", roles=ALL_ROLES, reads_everything=True)),
        (" tenant=acme", Caller("x", "acme", roles=ALL_ROLES - {"service"}, reads_everything=True)),
        (" roles=service", Caller("x", roles=frozenset({"service"}))),
        (" roles=reader,writer reads=everything", Caller("x", roles=frozenset({"reader", "writer"}), reads_everything=True)),
        (" user=ann groups=hr,eng roles=reader", Caller("x", user="ann", groups=frozenset({"hr", "eng"}), roles=frozenset({"reader"}))),
        (" user=ann", Caller("x", user="ann", roles=frozenset({"reader"}))),
        (" groups=hr reads=everything", Caller("x", groups=frozenset({"hr"}), roles=frozenset({"reader"}), reads_everything=True)),
    ],
)
def test_a_line_says_who_the_token_stands_for(tmp_path: Path, rest: str, caller: Caller):
    assert read(tmp_path, f"x:{DIGEST}{rest}").find("open sesame") == caller


def test_a_name_may_hold_spaces_and_colons_as_before(tmp_path: Path):
    found = read(tmp_path, f"the nightly: job:{DIGEST}").find("open sesame")
    assert found is not None
    assert found.name == "the nightly: job"


def test_another_token_is_nobodys(tmp_path: Path):
    assert read(tmp_path, f"x:{DIGEST}").find("open sesam") is None


@pytest.mark.parametrize(
    "line",
    [
        "alice", "alice:abc", f":{'0' * 64}", f"alice:{'z' * 64}", f"a:{DIGEST} roles=root", f"a:{DIGEST} tenant=../x",
        f"a:{DIGEST} nonsense", f"a:{DIGEST} colour=red", f"a:{DIGEST} tenant=a tenant=b", f"a:{DIGEST} reads=some", f"a:{DIGEST} tenant=",
    ],
)  # fmt: skip
def test_a_malformed_line_is_named(tmp_path: Path, line: str):
    with pytest.raises(ValueError, match="line 2"):
        read(tmp_path, "# comment", line)


def test_an_empty_file_is_refused_because_nobody_could_call(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no token"):
        read(tmp_path, "", "# only a comment")


async def test_a_token_sent_twice_is_refused(tmp_path: Path):
    read(tmp_path, f"x:{DIGEST}")
    authenticator = Authenticator(AuthSettings(tokens_file=tmp_path / "tokens"))
    header = ("authorization", "Bearer open sesame")
    assert (await authenticator.authenticate([header])).name == "x"
    with pytest.raises(Unauthenticated, match="once"):
        await authenticator.authenticate([header, header])
