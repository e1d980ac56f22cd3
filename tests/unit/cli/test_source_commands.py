"""`corella sources` against a service that says what the test tells it to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from corella.cli.source_options import interval, interval_text
from corella.v1 import retriever_pb2, source_pb2
from services.chassis.errors import Unavailable

Run = Callable[..., Any]
NAME = "corpora/handbook/sources/docs"


@pytest.fixture
def created(corella: Run, sources: Any) -> Run:
    assert corella("sources", "create", "directory", "docs", "/srv/docs", "-c", "handbook", "--paused").code == 0
    sources.asked.clear()
    return corella


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (
            ["directory", "docs", "/srv/docs", "--include", "*.md", "--exclude", "old/*", "--base-url", "https://docs.example.com/"],
            source_pb2.Source(
                directory=retriever_pb2.DirectorySource(
                    path="/srv/docs", include=["*.md"], exclude=["old/*"], base_uri="https://docs.example.com/"
                )
            ),
        ),
        (
            ["web", "docs", "https://docs.example.com/", "--depth", "0", "--pages", "7", "--host", "help.example.com"],
            source_pb2.Source(
                web=source_pb2.WebSource(start_url="https://docs.example.com/", max_depth=0, max_pages=7, hosts=["help.example.com"])
            ),
        ),
        (
            ["jira", "docs", "https://example.atlassian.net", "--project", "OPS", "--project", "WEB", "--token", "jira-token", "--api=2"],
            source_pb2.Source(
                jira=source_pb2.JiraSource(
                    base_url="https://example.atlassian.net", project_keys=["OPS", "WEB"], api_version=2,
                    token=source_pb2.SecretReference(name="jira-token"),
                )
            ),
        ),
        (
            ["confluence", "docs", "https://example.atlassian.net/wiki", "--space", "ENG", "--token", "t", "--account", "bot@example.com"],
            source_pb2.Source(
                confluence=source_pb2.ConfluenceSource(
                    base_url="https://example.atlassian.net/wiki", space_keys=["ENG"], user="bot@example.com",
                    token=source_pb2.SecretReference(name="t"),
                )
            ),
        ),
    ],
)  # fmt: skip
def test_each_kind_is_created_as_it_is_described(corella: Run, sources: Any, arguments: list[str], place: source_pb2.Source) -> None:
    result = corella(
        "sources", "create", *arguments, "-c", "handbook", "--every", "15m", "--loss-limit", "0.5", "--group", "staff", "--paused"
    )
    assert (result.code, result.out) == (0, f"Created {NAME}.\n")
    request = sources.asked[0]
    assert (request.parent, request.source_id, request.paused) == ("corpora/handbook", "docs", True)
    assert request.request_id
    kind = place.WhichOneof("place")
    assert getattr(request.source, str(kind)) == getattr(place, str(kind))
    assert request.source.sync_interval.seconds == 900
    assert request.source.loss_limit == 0.5
    assert list(request.source.default_access.groups) == ["staff"]


def test_a_first_sync_is_waited_for_and_its_result_shown(corella: Run, sources: Any, retriever: Any) -> None:
    sources.after.last_sync.added_count = 3
    retriever.fail_wait = [Unavailable("restarting", retry_after_seconds=0.01)]
    result = corella("sources", "create", "directory", "docs", "/srv/docs", "-c", "handbook", "--wait")
    assert result.code == 0
    assert "corpora/handbook" in retriever.corpora, "a corpus that is not there is made"
    assert result.out.splitlines()[0] == f"Created {NAME}."
    assert "3" in result.out
    assert "Corpus handbook is as the source is" in result.out


def test_outside_a_terminal_nothing_is_waited_for(corella: Run, sources: Any) -> None:
    result = corella("sources", "create", "directory", "docs", "/srv/docs", "-c", "handbook")
    assert result.code == 0
    assert "It is being read: operations/1" in result.out


def test_a_large_loss_says_what_to_do(created: Run, sources: Any) -> None:
    sources.after.state = source_pb2.SOURCE_STATE_WAITING_FOR_CONFIRMATION
    sources.after.last_sync.withheld_removal_count = 600
    result = created("sources", "sync", "docs", "-c", "handbook", "--wait")
    assert result.code == 1
    assert "600 documents are gone" in result.out
    assert "corella sources sync docs --corpus handbook --confirm-removals" in result.out
    sources.after.Clear()
    sources.after.last_sync.removed_count = 600
    assert created("sources", "sync", "docs", "-c", "handbook", "--confirm-removals", "--full", "--wait").code == 0
    assert (sources.asked[-1].confirm_removals, sources.asked[-1].full) == (True, True)


def test_failed_documents_and_failed_syncs_are_failures_with_their_reasons(created: Run, sources: Any) -> None:
    status = Unavailable("The disk is away.", reason="SOURCE_UNREACHABLE").to_status()
    sources.after.last_sync.failed_count = 1
    sources.after.last_sync.failures.add(uri="https://x.example/\x1b]0;owned\x07a.pdf", error=status)
    result = created("sources", "sync", "docs", "-c", "handbook", "--wait")
    assert result.code == 1
    assert "a.pdf" in result.out
    assert "\x1b" not in result.out
    sources.after.state = source_pb2.SOURCE_STATE_FAILED
    sources.after.error.CopyFrom(status)
    result = created("sources", "sync", "docs", "-c", "handbook", "--wait")
    assert "The sync failed: The disk is away." in result.out


def test_lists_and_one_source_are_shown_and_are_json_for_programs(created: Run, sources: Any) -> None:
    sources.sources[NAME].sync_interval.seconds = 7200
    sources.after.document_count = 12
    listed = created("sources", "list", "-c", "handbook")
    assert all(word in listed.out for word in ("docs", "directory", "/srv/docs", "idle", "12", "2h"))
    assert json.loads(created("sources", "list", "-c", "handbook", "--json").out)["name"] == NAME
    assert "/srv/docs" in created("sources", "show", "docs", "-c", "handbook").out
    assert json.loads(created("sources", "show", NAME, "--json").out)["document_count"] == "12"
    missing = created("sources", "show", "nothing", "-c", "handbook")
    assert missing.code == 1
    assert "corella sources list" in missing.err


def test_only_what_is_named_is_changed(created: Run, sources: Any) -> None:
    assert created("sources", "update", "docs", "-c", "handbook", "--every", "never", "--nobody").code == 0
    request = sources.asked[0]
    assert list(request.update_mask.paths) == ["sync_interval", "default_access"]
    assert request.source.sync_interval.seconds == 0
    assert request.source.default_access.level == retriever_pb2.ACCESS_LEVEL_NOBODY
    assert created("sources", "update", "docs", "-c", "handbook").code == 2
    assert created("sources", "update", "docs", "-c", "handbook", "--nobody", "--group", "x").code == 2


def test_pause_resume_and_delete_say_what_was_done(created: Run, sources: Any) -> None:
    assert created("sources", "pause", "docs", "-c", "handbook").out == f"Paused {NAME}.\n"
    assert created("sources", "resume", "docs", "-c", "handbook").out == f"Resumed {NAME}.\n"
    assert created("sources", "delete", "docs", "-c", "handbook").out == f"Deleted {NAME}; its documents stay.\n"
    assert created("sources", "delete", "docs", "-c", "handbook", "--documents").out == f"Deleted {NAME} and 3 documents.\n"


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("15m", 900), ("6h", 21_600), ("1d", 86_400), ("90s", 90), ("never", 0)])
def test_intervals_are_read_and_written(text: str, seconds: int) -> None:
    assert interval(text).seconds == seconds
    assert text == (interval_text(seconds) or "never")


def test_an_interval_that_is_none_is_refused(created: Run) -> None:
    assert created("sources", "update", "docs", "-c", "handbook", "--every", "often").code == 2
