"""The options for encryption: what goes together, and what is said where it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corella.client import Corella

Run = Callable[..., Any]


def test_options_and_environment_reach_the_client(corella: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    before = Corella.__init__

    def noting(self: Corella, *positional: Any, **named: Any) -> None:
        given.update(named)
        before(self, *positional, **{**named, "ca_file": None, "certificate_file": None, "key_file": None, "server_name": ""})

    monkeypatch.setattr(Corella, "__init__", noting)
    monkeypatch.setenv("CORELLA_SERVER_NAME", "localhost")
    monkeypatch.setenv("CORELLA_KEY_FILE", str(tmp_path / "key"))
    files = ("--ca-file", str(tmp_path / "ca"), "--certificate-file", str(tmp_path / "certificate"))
    assert corella(*files, "search", "x").code == 0
    names = ("ca_file", "certificate_file", "key_file", "server_name")
    assert [given[name] for name in names] == [tmp_path / "ca", tmp_path / "certificate", tmp_path / "key", "localhost"]


def test_a_certificate_without_an_authority_is_not_sent_in_the_clear(corella: Run, tmp_path: Path) -> None:
    for name in ("certificate", "key"):
        (tmp_path / name).write_text("")
    done = corella("--certificate-file", str(tmp_path / "certificate"), "--key-file", str(tmp_path / "key"), "search", "x")
    assert done.code == 2
    assert "without ca_file connections are not encrypted" in done.err
    assert "docs/security.md" in done.err


def test_a_file_that_is_missing_is_named(corella: Run, tmp_path: Path) -> None:
    done = corella("--ca-file", str(tmp_path / "nothing"), "search", "x")
    assert done.code == 1
    assert "nothing: No such file" in done.err
    assert "CORELLA_CA_FILE" in done.err
