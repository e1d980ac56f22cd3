"""Anchors are those that GitHub gives, and survive in a URI."""

from __future__ import annotations

import pytest

from services.retriever.anchors import Slugger, slug, with_anchor


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Hello, World!", "hello-world"),
        ("  What's new in 4.0.5?  ", "whats-new-in-405"),
        ("a -- b", "a----b"),
        ("snake_case & more", "snake_case--more"),
        ("Größe (µm)", "größe-µm"),
        ("हिन्दी भाषा", "हिन्दी-भाषा"),
        ("日本語 の", "日本語-の"),
        ("[ Devices page ]", "-devices-page-"),
        ("!!!", ""),
    ],
)
def test_slugs_are_githubs(heading: str, expected: str) -> None:
    assert slug(heading) == expected


def test_repeated_headings_get_numbers_and_never_an_anchor_that_is_taken() -> None:
    slugger = Slugger()
    assert [slugger.anchor(h) for h in ("A", "A", "A-1", "A", "B")] == ["a", "a-1", "a-1-1", "a-2", "b"]


@pytest.mark.parametrize(
    ("uri", "anchor", "expected"),
    [
        ("https://h/p.html", "x", "https://h/p.html#x"),
        ("https://h/p.html#old", "x", "https://h/p.html#x"),
        ("https://h/p.html?a=b", "", "https://h/p.html?a=b"),
        ("https://h/p", 'a b%"<>', "https://h/p#a%20b%25%22%3C%3E"),
        ("https://h/p", "größe", "https://h/p#gr%C3%B6%C3%9Fe"),
        ("https://h/p", "id-1.9:a/b?c", "https://h/p#id-1.9:a/b?c"),
    ],
)
def test_an_anchor_replaces_that_of_the_uri_and_is_escaped(uri: str, anchor: str, expected: str) -> None:
    assert with_anchor(uri, anchor) == expected
