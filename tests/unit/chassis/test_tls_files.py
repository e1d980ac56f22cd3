"""Tokens and certificates in files that others replace: taken when whole, refused in words that say which file and why."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from corella.client import Corella
from services.chassis.certificates import CertificateFiles, read_certificates
from services.chassis.channel import files_refused
from services.chassis.settings import ClientSettings, ServerSettings
from services.chassis.tokens_file import TokensFile
from services.chassis.watched_files import FilesRefused, WatchedFiles, read_token

sys.path.insert(0, str(Path(__file__).parents[2] / "servers"))
from certificate_authority import CertificateAuthority, MountedSecret

AUTHORITY = CertificateAuthority()


def mounted(folder: Path, hours: float = 24.0) -> MountedSecret:
    return MountedSecret(folder / "tls", AUTHORITY.issue("retriever", hours=hours), AUTHORITY.certificate)


def files_of(secret: MountedSecret) -> CertificateFiles:
    return CertificateFiles("server", secret.certificate_file, secret.key_file, secret.ca_file, check_seconds=0)


def test_a_token_that_changes_is_the_new_one_and_an_empty_file_keeps_the_old(tmp_path: Path):
    path = tmp_path / "token"
    path.write_text("first\n")
    token = WatchedFiles([path], lambda: read_token(path), check_seconds=0)
    assert token.current() == "first"
    path.write_text("second one\n")
    assert token.current() == "second one"
    with capture_logs() as logs:
        path.write_text("")
        assert token.current() == token.current() == "second one"
        path.unlink()
        assert token.current() == "second one"
    said = [each["problem"] for each in logs]
    assert said == [f"{path} is empty: there is no token to send", f"{path} cannot be read: No such file or directory"]
    path.write_text("third")
    assert token.current() == "third"


def test_files_are_looked_at_once_a_second_at_most(tmp_path: Path):
    path, now = tmp_path / "token", 0.0
    path.write_text("first")
    token = WatchedFiles([path], lambda: read_token(path), clock=lambda: now)
    path.write_text("the second")
    assert token.current() == "first"
    now = 1.0
    assert token.current() == "the second"


def test_a_token_taken_out_of_the_tokens_file_opens_nothing_a_moment_later(tmp_path: Path):
    def line(name: str) -> str:
        return f"{name}:{hashlib.sha256(name.encode()).hexdigest()} roles=reader\n"

    path = tmp_path / "tokens"
    path.write_text(line("ann") + line("ben"))
    tokens = TokensFile(path, check_seconds=0)
    assert tokens.find("ann")
    path.write_text(line("ben"))
    assert tokens.find("ann") is None
    assert tokens.find("ben")
    with capture_logs() as logs:
        path.write_text(line("ann") + "ben without a hash\n")
        assert tokens.find("ann") is None
        assert tokens.find("ben")
    assert [each["log_level"] for each in logs] == ["error"]
    assert "line 2" in logs[0]["problem"]


def test_a_swapped_secret_is_taken_as_a_whole(tmp_path: Path):
    secret = mounted(tmp_path)
    files = files_of(secret)
    first = files.current()
    assert files.current() is first
    renewed = AUTHORITY.issue("retriever")
    secret.swap(renewed, AUTHORITY.certificate)
    assert (files.current().certificate, files.current().key) == (renewed.certificate, renewed.key)


def test_while_certificate_and_key_do_not_match_the_former_pair_stays_and_the_log_says_so_once(tmp_path: Path):
    secret = mounted(tmp_path)
    files = files_of(secret)
    first, renewed = files.current(), AUTHORITY.issue("retriever")
    with capture_logs() as logs:
        secret.certificate_file.unlink()
        secret.certificate_file.write_bytes(renewed.certificate)
        assert all(files.current() is first for _ in range(5))
        secret.key_file.unlink()
        secret.key_file.write_bytes(renewed.key)
        assert files.current().certificate == renewed.certificate
    assert [each["event"] for each in logs] == ["changed_files_not_taken", "changed_files_taken"]
    assert logs[0]["problem"] == f"the key in {secret.key_file} is not that of the certificate in {secret.certificate_file}"
    assert "PRIVATE" not in str(logs)


def test_what_cannot_be_used_is_named(tmp_path: Path):
    good, over = mounted(tmp_path), AUTHORITY.issue("retriever", hours=-1)
    empty, missing = tmp_path / "empty", tmp_path / "missing"
    empty.write_text("nothing")
    (tmp_path / "over.crt").write_bytes(over.certificate)
    (tmp_path / "over.key").write_bytes(over.key)
    for given, why in [
        ((good.certificate_file, tmp_path / "over.key", None), "is not that of the certificate"),
        ((tmp_path / "over.crt", tmp_path / "over.key", None), "was good until 20"),
        ((empty, good.key_file, None), "empty does not hold PEM certificates"),
        ((good.certificate_file, empty, None), "empty does not hold a PEM private key without a password"),
        ((good.certificate_file, good.key_file, empty), "empty does not hold PEM certificates"),
        ((missing, good.key_file, None), "missing cannot be read: No such file"),
    ]:
        with pytest.raises(FilesRefused, match=why):
            read_certificates(*given)


@pytest.mark.parametrize(("hours", "warns"), [(24 * 25, False), (24 * 8, False), (24 * 5, False), (4.0, True)])
def test_a_certificate_near_its_end_is_said_once_an_hour(tmp_path: Path, hours: float, warns: bool):
    """One that was made for 26, 9 or 6 days has a good while to go; of one made for 28 hours 4 are less than a fifth."""
    with capture_logs() as logs:
        files = files_of(mounted(tmp_path, hours=hours))
        for _ in range(3):
            files.current()
    assert [each["event"] for each in logs] == ["certificate_ends_soon"] * warns


def test_the_metric_says_when_the_certificate_in_use_ends(tmp_path: Path):
    from services.chassis.certificates import _expiries

    secret = mounted(tmp_path, hours=10)
    files = files_of(secret)
    ends = {each.attributes["corella.tls.side"]: each.value for each in _expiries(None)}
    assert abs(ends["server"] - time.time() - 10 * 3600) < 60
    secret.swap(AUTHORITY.issue("retriever", hours=20), AUTHORITY.certificate)
    ends = {each.attributes["corella.tls.side"]: each.value for each in _expiries(None)}
    assert abs(ends["server"] - time.time() - 20 * 3600) < 60
    assert files.current().ends_at == ends["server"]


def test_settings_that_would_leave_a_connection_open_are_refused():
    for bad, why in [
        ({"certificate_file": "a", "key_file": "b"}, "would not be encrypted"),
        ({"server_name": "retriever"}, "would not be encrypted"),
        ({"ca_file": "a", "key_file": "b"}, "belong together"),
    ]:
        with pytest.raises(ValidationError, match=why):
            ClientSettings(address="retriever:15052", **bad)
    with pytest.raises(ValidationError, match="open to all, unencrypted"):
        ServerSettings(port=1, tls={"client_ca_file": "ca.pem"})
    with pytest.raises(ValidationError, match="another one than port"):
        ServerSettings(port=15052, health_port=15052)


def test_a_worker_learns_at_its_start_that_it_could_call_nobody(tmp_path: Path):
    secret, token = mounted(tmp_path), tmp_path / "token"
    token.write_text("a token")
    good = ClientSettings(
        address="embedder:15051",
        ca_file=secret.ca_file,
        certificate_file=secret.certificate_file,
        key_file=secret.key_file,
        token_file=token,
    )
    assert not files_refused([good])
    with capture_logs() as logs:
        assert files_refused([good, good.model_copy(update={"token_file": tmp_path / "missing"})])
        assert files_refused([good.model_copy(update={"ca_file": token})])
    assert [each["event"] for each in logs] == ["not_started", "not_started"]
    assert "missing cannot be read" in logs[0]["problem"]
    assert "token does not hold PEM certificates" in logs[1]["problem"]


def test_the_public_client_refuses_what_does_not_go_together(tmp_path: Path):
    with pytest.raises(ValueError, match="belong together"):
        Corella(ca_file=tmp_path / "ca", key_file=tmp_path / "key")
    with pytest.raises(ValueError, match="without ca_file"):
        Corella(server_name="generator")
