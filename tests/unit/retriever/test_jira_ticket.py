"""Issues as tickets, and who may read what two rules protect."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.retriever.access import EVERYONE, NOBODY, Access
from services.retriever.connectors.access_lists import both
from services.retriever.connectors.decoding import Decoder
from services.retriever.connectors.jira_ticket import moment, ticket_of
from services.retriever.connectors.waiting import asked_for, back_off
from services.retriever.messages import uri_with_anchor
from services.retriever.ticket_reader import read_ticket

ADA, BEN = {"accountId": "a", "displayName": "Ada"}, {"accountId": "b", "displayName": "Ben"}


def comment(id: str, person: dict[str, Any], day: int, body: str = "A word of more than twenty characters.", **more: Any) -> dict[str, Any]:
    return {"id": id, "author": person, "created": f"2025-03-{day:02}T10:00:00.000+0100", "body": body, **more}


def issue(**fields: Any) -> dict[str, Any]:
    resolved = {"resolution": {"name": "Fixed"}, "resolutiondate": "2025-03-10T10:00:00.000+0100", "assignee": ADA}
    return {"key": "OPS-12", "fields": {"summary": "Broken", "status": {"name": "Closed"}, **resolved, **fields}}


def ticket(written: dict[str, Any], *comments: dict[str, Any]) -> dict[str, Any]:
    made = ticket_of(written, list(comments), "https://x.example")
    assert read_ticket(made.content).title
    return dict(json.loads(made.content))


def test_the_solution_is_the_assignees_last_word_before_it_was_resolved() -> None:
    said = ticket(issue(), comment("1", ADA, 2), comment("2", BEN, 9), comment("3", ADA, 10), comment("4", ADA, 20))
    assert said["solution"]["url"] == "https://x.example/browse/OPS-12?focusedCommentId=3"
    assert [each["id"] for each in said["comments"]] == ["1", "2", "4"]
    assert said["state"] == "Closed (Fixed)"


@pytest.mark.parametrize(
    "fields", [{"resolution": None}, {"assignee": None}, {"assignee": BEN}, {"resolutiondate": None}, {"resolutiondate": "soon"}]
)
def test_without_resolution_assignee_or_word_there_is_no_solution(fields: dict[str, Any]) -> None:
    assert ticket(issue(**fields), comment("1", ADA, 2))["solution"] is None
    assert ticket(issue(), comment("1", ADA, 2, body="Done."))["solution"] is None


def test_comments_that_only_some_may_read_are_left_out_and_counted() -> None:
    restricted = [
        comment("1", ADA, 2, visibility={"type": "group", "value": "finance"}),
        comment("2", ADA, 2, visibility={"type": "role", "value": "Administrators"}),
        comment("3", ADA, 2, visibility={}),
        comment("4", ADA, 2, jsdPublic=False),
    ]
    made = ticket_of(issue(), [*restricted, comment("5", BEN, 3, jsdPublic=True)], "https://x.example")
    assert made.restricted_comments == 4
    assert [each["id"] for each in json.loads(made.content)["comments"]] == ["5"]


@pytest.mark.parametrize("fields", [None, 7, [], {}, {"summary": 3, "labels": "x", "status": [], "comment": 5, "description": 9}])
def test_an_issue_of_odd_fields_is_a_ticket_all_the_same(fields: Any) -> None:
    said = ticket({"key": "OPS-1", "fields": fields}, {"id": 5, "body": "words"}, {"id": "../x", "body": "words"}, {"body": None})
    assert said["summary"] == "OPS-1"
    assert [each["id"] for each in said["comments"]] == ["5"]


@pytest.mark.parametrize("key", ["", "ops-1", "OPS", "OPS-1/../x", "OPS-1\n", None, 5])
def test_an_issue_without_a_key_is_refused(key: Any) -> None:
    with pytest.raises(ValueError, match="no key"):
        ticket_of({"key": key, "fields": {}}, [], "https://x.example")


def test_a_citation_of_a_comment_opens_the_comment() -> None:
    made = ticket_of(issue(), [comment("10100", BEN, 3)], "https://x.example")
    document = read_ticket(made.content)
    links = [uri_with_anchor(document.uri, section.anchor) for section in document.sections]
    assert links[-1] == "https://x.example/browse/OPS-12?focusedCommentId=10100"
    assert links[0] == "https://x.example/browse/OPS-12#description"


@pytest.mark.parametrize(
    "url", ["https://evil.example/?a=1", "https://x.example/t", "https://x.example/t?a=1&b=2", "https://x.example/t?a=<b>"]
)
def test_a_comment_that_leads_elsewhere_keeps_its_anchor(url: str) -> None:
    written = {
        "key": "A-1",
        "summary": "s",
        "description": "d",
        "url": "https://x.example/t",
        "comments": [{"id": "1", "body": "b", "url": url}],
    }
    assert read_ticket(json.dumps(written).encode()).sections[1].anchor == "comment-1"


def test_times_are_read_as_jira_writes_them() -> None:
    assert moment("2015-12-07T14:19:13.000-0800") == datetime(2015, 12, 7, 22, 19, 13, tzinfo=UTC)
    assert moment("yesterday") is None
    assert moment("0001-01-01T00:00:00.000+1400") is None


A, B = Access.listed(["u", "v"], ["g", "h"]), Access.listed(["v", "w"], ["h"])


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (None, None, None),
        (None, A, A),
        (A, B, Access.listed(["v"], ["h"])),
        (A, NOBODY, NOBODY),
        (None, NOBODY, NOBODY),
        (EVERYONE, A, A),
        (EVERYONE, EVERYONE, EVERYONE),
        (Access.listed(["u"]), Access.listed(groups=["g"]), NOBODY),
    ],
)
def test_two_rules_let_in_whom_both_let_in(one: Access | None, other: Access | None, together: Access | None) -> None:
    assert both(one, other) == together
    assert both(other, one) == together


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("7", 7.0),
        ("Fri, 07 Mar 2025 10:00:30 GMT", 30.0),
        ("Fri, 07 Mar 2025 09:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("٣", None),
        ("9" * 50, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(written: str, seconds: float | None) -> None:
    assert asked_for({"retry-after": written}, datetime(2025, 3, 7, 10, tzinfo=UTC)) == seconds


def test_waits_grow_and_are_bounded() -> None:
    assert 0.25 <= back_off(1, 0.5, 30) <= 0.5
    assert 15 <= back_off(20, 0.5, 30) <= 30


def test_an_answer_without_coding_is_taken_as_it_is() -> None:
    decoder = Decoder("")
    assert decoder.decode(b"abc", 10) == b"abc"
    decoder.finish()
