"""What of a directory is read, and what not."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis.errors import InvalidArgument
from services.retriever.directory_source import allowed, content, files, roots_of, uri_of
from services.retriever.domain import SourceNotAllowed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    for name in ("b.md", "a.html", "deep/c.txt", "deep/d.bin", "e f.md"):
        (root / name).write_text(name)
    (tmp_path / "secret.md").write_text("secret")
    (root / "out.md").symlink_to(tmp_path / "secret.md")
    (root / "folder-out").symlink_to(tmp_path)
    (root / "within.md").symlink_to(root / "b.md")
    return root


def listed(root: Path, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    return [str(path) for path in files(root, include, exclude)]


def test_known_types_are_read_in_order_and_links_that_lead_out_are_not(tree: Path) -> None:
    assert listed(tree) == ["a.html", "b.md", "e f.md", "within.md", "deep/c.txt"]


def test_patterns_choose_and_leave_out(tree: Path) -> None:
    assert listed(tree, ("*.md",), ("e*",)) == ["b.md", "within.md"]
    assert listed(tree, ("deep/*",)) == ["deep/c.txt", "deep/d.bin"]


@pytest.mark.parametrize("path", ["..", "../secret.md", "folder-out", "deep/../../"])
def test_nothing_outside_the_roots_is_allowed_by_any_way_of_writing_it(tree: Path, path: str) -> None:
    with pytest.raises(SourceNotAllowed):
        allowed(f"{tree}/{path}", [tree])


def test_by_default_no_directory_is_allowed(tree: Path) -> None:
    with pytest.raises(SourceNotAllowed):
        allowed(str(tree), [])


@pytest.mark.parametrize("path", ["relative", "./x"])
def test_a_path_must_be_absolute(tree: Path, path: str) -> None:
    with pytest.raises(InvalidArgument):
        allowed(path, [tree])


def test_a_file_is_no_directory(tree: Path) -> None:
    with pytest.raises(InvalidArgument):
        allowed(str(tree / "b.md"), [tree])


def test_uris_are_quoted(tree: Path) -> None:
    assert uri_of(tree, Path("deep/e f.md"), "https://docs.example.com/") == "https://docs.example.com/deep/e%20f.md"
    assert uri_of(tree, Path("b.md"), "") == f"{tree.as_uri()}/b.md"


async def read(tree: Path, name: str) -> bytes:
    return b"".join([part async for part in content(tree, Path(name))])


async def test_a_link_within_the_directory_is_read(tree: Path) -> None:
    assert await read(tree, "within.md") == b"b.md"


@pytest.mark.parametrize("name", ["out.md", "folder-out/secret.md", "missing.md"])
async def test_a_file_that_became_a_link_out_or_went_away_is_an_error_in_plain_words(tree: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be read"):
        await read(tree, name)


def test_another_tenant_reads_below_a_folder_of_its_name_only(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "pages").mkdir()
    roots = roots_of("acme", [tmp_path])
    assert allowed(str(tmp_path / "acme"), roots) == (tmp_path / "acme").resolve()
    with pytest.raises(SourceNotAllowed):
        allowed(str(tmp_path / "pages"), roots)
    assert roots_of("default", [tmp_path]) == [tmp_path]
