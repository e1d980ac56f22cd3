"""A ticket's description, comments and solution are sections that can be cited one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.retriever.structure import DocumentUnreadable
from services.retriever.ticket_reader import read_ticket

TICKET: dict[str, Any] = {
    "key": "SUP-1",
    "summary": "Sensor silent",
    "description": "It is silent.\n\nSince Monday.",
    "state": "Closed",
    "labels": ["radio", "hub"],
    "url": "https://support.example/SUP-1",
    "comments": [
        {"id": "7", "author": "Ann Lee", "created": "2025-01-27T10:02:00Z", "body": "Which cells?"},
        {"id": "8", "body": "These."},
    ],
    "solution": {"author": "Ann Lee", "created": "2025-01-29T11:20:00Z", "body": "Remove the middle cell."},
}


def read(**changes: Any) -> Any:
    return read_ticket(json.dumps(TICKET | changes).encode())


def test_each_part_is_a_section_with_its_kind_anchor_and_headings() -> None:
    title = "SUP-1: Sensor silent"
    assert [(s.kind, s.anchor, s.heading_path) for s in read().sections] == [
        ("description", "description", (title,)),
        ("comment", "comment-7", (title, "Comment by Ann Lee, 2025-01-27")),
        ("comment", "comment-8", (title, "Comment")),
        ("solution", "solution", (title, "Solution by Ann Lee, 2025-01-29")),
    ]
    assert read().title == title


def test_the_description_ends_with_what_the_ticket_says_about_itself() -> None:
    assert read().sections[0].blocks == ("It is silent.", "Since Monday.", "State: Closed. Labels: radio, hub.")


def test_an_open_ticket_without_a_description_has_its_facts_and_comments() -> None:
    sections = read(description=None, solution=None).sections
    assert [s.anchor for s in sections] == ["description", "comment-7", "comment-8"]
    assert sections[0].blocks == ("State: Closed. Labels: radio, hub.",)


def test_a_ticket_with_key_and_summary_alone_is_a_document() -> None:
    read = read_ticket(b'{"key": "A-1", "summary": "only this", "state": "New"}')
    assert read.sections[0].blocks == ("State: New.",)


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("https://h/t/1", "https://h/t/1"),
        ("http://h:8080/t?x=1", "http://h:8080/t?x=1"),
        ("javascript:alert(1)", ""),
        ("file:///etc/passwd", ""),
        ("https://user:secret@h/t", ""),
        ("https://h/a b", ""),
        ("https:///t", ""),
        ("https://[", ""),
        ("//h/t", ""),
        ("https://h/" + "x" * 2000, ""),
        (None, ""),
    ],
)
def test_only_a_web_address_becomes_the_uri(url: str | None, uri: str) -> None:
    assert read(url=url).uri == uri


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"key": None}, "key"),
        ({"key": " "}, "key"),
        ({"summary": 7}, "summary"),
        ({"description": ["x"]}, "description"),
        ({"labels": "x"}, "labels"),
        ({"labels": [1]}, "labels"),
        ({"comments": {}}, "comments"),
        ({"comments": ["text"]}, "comments[0]"),
        ({"comments": [{"body": "x"}]}, "comments[0].id"),
        ({"comments": [{"id": 7, "body": "x"}]}, "comments[0].id"),
        ({"comments": [{"id": "a#b", "body": "x"}]}, "comments[0].id"),
        ({"comments": [{"id": "1", "body": "x"}, {"id": "1", "body": "y"}]}, "comments[1].id"),
        ({"comments": [{"id": "1", "body": ""}]}, "comments[0].body"),
        ({"solution": "x"}, "solution"),
        ({"solution": {}}, "solution.body"),
    ],
)
def test_what_is_no_ticket_is_refused_with_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(DocumentUnreadable) as caught:
        read(**changes)
    assert [name for name, _ in caught.value.violations] == [field]
    assert caught.value.reason == "DOCUMENT_UNREADABLE"


def test_all_violations_are_listed_at_once() -> None:
    with pytest.raises(DocumentUnreadable) as caught:
        read(key=None, labels=3, solution=[])
    assert [name for name, _ in caught.value.violations] == ["key", "labels", "solution"]


@pytest.mark.parametrize(("content", "message"), [(b"[]", "JSON object"), (b"{", "not valid JSON"), (b'"x"', "JSON object")])
def test_other_json_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DocumentUnreadable, match=message):
        read_ticket(content)


def test_half_a_surrogate_and_hidden_characters_are_removed() -> None:
    assert read(description="a\ud800b\u202ec").sections[0].blocks[0] == "abc"
