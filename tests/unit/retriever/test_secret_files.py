"""Secrets come from one folder, by plain names, and are never told."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from services.retriever.domain import SourceNotAllowed
from services.retriever.secret_files import SecretFiles
from services.retriever.source_domain import SecretMissing

VALUE = "s3cr3t-value"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    made.mkdir()
    (made / "jira-token").write_text(f"{VALUE}\n")
    (tmp_path / "outside").write_text(VALUE)
    return made


def test_a_secret_is_read_without_its_line_end(folder: Path) -> None:
    secret = SecretFiles(folder).read("jira-token")
    assert secret.reveal() == VALUE
    assert VALUE not in f"{secret!r} {secret}"


@pytest.mark.parametrize("name", ["", ".", "..", "../outside", "/etc/passwd", ".hidden", "a/b", "a\nb", "a b", "x" * 201])
def test_only_plain_names_are_taken(folder: Path, name: str) -> None:
    with pytest.raises(SourceNotAllowed):
        SecretFiles(folder).read(name)


def test_without_a_folder_there_is_no_secret() -> None:
    with pytest.raises(SourceNotAllowed):
        SecretFiles(None).read("jira-token")


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 20_000, b"two\nlines", b"\xff\xfe"])
def test_what_is_no_line_of_text_is_no_secret_and_stays_untold(folder: Path, content: bytes) -> None:
    (folder / "odd").write_bytes(content)
    with pytest.raises(SecretMissing) as caught:
        SecretFiles(folder).read("odd")
    assert "xxx" not in "".join(traceback.format_exception(caught.value))


def test_links_within_the_folder_are_followed_and_others_are_not(folder: Path) -> None:
    # As Kubernetes mounts them.
    (folder / "data").mkdir()
    (folder / "data" / "token").write_text(VALUE)
    (folder / "token").symlink_to("data/token")
    assert SecretFiles(folder).read("token").reveal() == VALUE
    (folder / "out").symlink_to(folder.parent / "outside")
    (folder / "fifo").symlink_to("/dev/zero")
    for name in ("out", "fifo", "data", "missing"):
        with pytest.raises(SecretMissing):
            SecretFiles(folder).read(name)
