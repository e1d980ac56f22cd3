"""Which files below a folder are documents, under which URLs, and what is said of the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from corella.cli.files import MAX_BYTES, find

TICKET = json.dumps({"key": "SUP-1", "summary": "s", "description": "d"})


def make(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def names(root: Path, **options: str) -> list[str]:
    return [document.path.relative_to(root).as_posix() for document in find([root], **options).documents]


def test_known_endings_are_taken_in_the_order_of_their_names(tmp_path: Path) -> None:
    make(tmp_path, {"b.md": "x", "a.HTML": "x", "sub/c.txt": "x", "d.markdown": "x", "e.htm": "x", "t.json": TICKET, "p.png": "x"})
    found = find([tmp_path])
    assert [d.path.relative_to(tmp_path).as_posix() for d in found.documents] == [
        "a.HTML", "b.md", "d.markdown", "e.htm", "t.json", "sub/c.txt",
    ]  # fmt: skip
    assert found.other_count == 1
    types = {d.path.name: d.mime_type for d in found.documents}
    assert types["t.json"] == "application/vnd.corella.ticket+json"
    assert types["a.HTML"] == "text/html"


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, {".git/a.md": "x", ".hidden.md": "x", "a.md": "x"})
    assert names(tmp_path) == ["a.md"]


@pytest.mark.parametrize("content", ["[1, 2]", '{"key": "x"}', "{", "[" * 100_000])
def test_json_that_is_no_ticket_is_left_out_with_the_reason(tmp_path: Path, content: str) -> None:
    make(tmp_path, {"a.json": content})
    found = find([tmp_path])
    assert found.documents == []
    assert [why for _, why in found.skipped] == ["is JSON, but not a ticket (see docs/tickets.md)"]


def test_links_out_of_the_folder_are_not_followed_and_said_to_be_so(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    make(outside, {"secret.md": "x", "folder/other.md": "x"})
    make(root, {"a.md": "x"})
    (root / "link.md").symlink_to(outside / "secret.md")
    (root / "linked").symlink_to(outside / "folder")
    (root / "inside.md").symlink_to(root / "a.md")
    found = find([root])
    assert [d.path.name for d in found.documents] == ["a.md", "inside.md"]
    assert {Path(path).name: why for path, why in found.skipped} == {
        "link.md": "is a symbolic link that leads out of the folder",
        "linked": "is a symbolic link to a folder; such links are not followed",
    }


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    make(tmp_path, {"a.md": "x"})
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.md").symlink_to(tmp_path / "self.md")
    assert names(tmp_path) == ["a.md"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_what_may_not_be_read_is_left_out_with_the_reason(tmp_path: Path) -> None:
    make(tmp_path, {"a.md": "x"})
    (tmp_path / "a.md").chmod(0)
    assert find([tmp_path]).skipped == [(str(tmp_path / "a.md"), "may not be read")]


def test_broken_links_and_too_large_files_are_left_out_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere.md")
    with (tmp_path / "large.md").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    os.mkfifo(tmp_path / "pipe.md")
    assert {Path(path).name: why for path, why in find([tmp_path]).skipped} == {
        "gone.md": "does not exist",
        "large.md": "is larger than 50 MiB",
        "pipe.md": "is not a file",
    }


def test_urls_are_percent_encoded_paths(tmp_path: Path) -> None:
    make(tmp_path, {"a b/ü#1?.md": "x"})
    [document] = find([tmp_path]).documents
    assert document.uri.startswith("file:///")
    assert document.uri.endswith("/a%20b/%C3%BC%231%3F.md")


def test_a_base_url_takes_the_place_of_the_folder(tmp_path: Path) -> None:
    make(tmp_path, {"guide/a b.md": "x"})
    for base in ("https://docs.example.com/x", "https://docs.example.com/x/"):
        assert [d.uri for d in find([tmp_path], base).documents] == ["https://docs.example.com/x/guide/a%20b.md"]
    assert find([tmp_path / "guide/a b.md"], "https://d.example").documents[0].uri == "https://d.example/a%20b.md"


def test_a_file_named_twice_is_taken_once(tmp_path: Path) -> None:
    make(tmp_path, {"a.md": "x"})
    assert len(find([tmp_path, tmp_path / "a.md", tmp_path]).documents) == 1
