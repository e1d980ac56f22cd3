from __future__ import annotations

import pytest

from services.trainer.sources import is_right

URI = "https://intranet.example/pages/policies/annual%20leave.md#carry-over"
CHUNK = "corpora/docs/documents/1/chunks/2"


@pytest.mark.parametrize(
    ("source", "right"),
    [
        (URI, True),
        ("policies/annual leave.md#carry-over", True),
        ("policies/annual%20leave.md#carry-over", True),
        ("annual leave.md", True),
        ("/policies/annual leave.md", True),
        (CHUNK, True),
        ("policies/annual leave.md#sickness", False),
        ("leave.md#carry-over", False),
        ("policies/annual leave", False),
        ("corpora/docs/documents/1/chunks/3", False),
        ("#carry-over", False),
        ("", False),
    ],
)
def test_a_source_is_an_address_its_ending_or_a_chunk(source: str, right: bool) -> None:
    assert is_right(URI, CHUNK, [source]) is right


def test_one_of_several_sources_is_enough_and_none_are_never_right() -> None:
    assert is_right(URI, CHUNK, ["a.md", CHUNK])
    assert not is_right(URI, CHUNK, [])


def test_a_source_without_an_anchor_is_right_wherever_in_the_document() -> None:
    assert is_right("file:///a/b.md", "", ["a/b.md"])
    assert not is_right("file:///a/b.md", "", ["a/b.md#x"])
