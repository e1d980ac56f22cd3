"""From documents to clickable citations, on the real stack."""

from __future__ import annotations

import os
import re
import signal
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

pytestmark = pytest.mark.e2e

QUESTIONS = (
    ("Where are the data of Hollin Desk stored?", "Ireland", "hollin-desk.md#where-are-the-data-stored"),
    ("What is the mileage rate for a private car?", "45p", "travel.md#private-car"),
    ("What is the highest hotel rate per night in London?", "£185", "travel.md#hotels"),
)
QUESTION = QUESTIONS[0][0]


def anchors(page: Path) -> set[str]:
    """The places of a page that a browser or a Markdown viewer can scroll to, found independently of the retriever."""
    text = page.read_text()
    if page.suffix == ".html":
        soup = BeautifulSoup(text, "html.parser")
        ids = {str(tag["id"]) for tag in soup.find_all(id=True)}
        return ids | {slug(tag.get_text()) for tag in soup.find_all(re.compile("h[1-6]"))}
    return {slug(heading) for heading in re.findall(r"(?m)^#{1,6}\s+(.+?)\s*$", text)}


def slug(heading: str) -> str:
    """GitHub's slug of a heading: lower case, punctuation removed, blanks to dashes."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def assert_opens(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme == "file":
        page = Path(unquote(parts.path))
        assert page.is_file(), uri
        assert not parts.fragment or unquote(parts.fragment) in anchors(page), uri
    else:
        assert uri.startswith("https://support.hollinmere.example/tickets/"), "only tickets have addresses of their own"


def test_everything_is_healthy_after_up(stack: Any) -> None:
    [told] = stack.json("status")
    assert told["healthy"]
    assert [process["state"] for process in told["local"]["processes"]] == ["healthy"] * 11
    assert all(process["memory_bytes"] > 0 for process in told["local"]["processes"])


def test_every_sample_becomes_active_and_a_second_run_touches_nothing(stack: Any, samples: dict[str, Any]) -> None:
    pages = [p for p in (Path(__file__).parents[2] / "samples").glob("[pt]*/**/*") if p.suffix in {".md", ".html", ".json"}]
    assert (samples["added"], samples["failed"], samples["skipped"]) == (len(pages), 0, [])
    documents = stack.json("documents", "list", "--limit", "0")
    assert {document["state"] for document in documents} == {"DOCUMENT_STATE_ACTIVE"}
    before = {document["name"]: document["update_time"] for document in documents}
    root = Path(__file__).parents[2] / "samples"
    again = stack.corella("ingest", str(root / "pages"), str(root / "tickets"))
    assert f"Nothing changed: all {len(pages)} documents" in again.stdout
    assert {document["name"]: document["update_time"] for document in stack.json("documents", "list", "--limit", "0")} == before


def test_answers_cite_the_page_and_the_place(stack: Any, samples: dict[str, Any]) -> None:
    right = 0
    for question, gold, source in QUESTIONS:
        events = stack.ask(question)
        answer = events["citations"]["answer"]
        for citation in answer["citations"]:
            assert f"[{citation['number']}]" in answer["text"]
            assert_opens(citation["uri"])
        assert answer["refused"] or answer["citations"], "what is said is cited"
        assert list(events)[-1] == "memory"
        right += gold in answer["text"] and any(source in citation["uri"] for citation in answer["citations"])
    assert right >= 2, "a small model may fail on one of these three, not on more"


def test_people_see_the_answer_and_its_url(stack: Any, samples: dict[str, Any]) -> None:
    shown = stack.corella("ask", QUESTION).stdout
    [uri] = re.findall(r"(?m)^\[\d\] .* — (\S+)$", shown)[:1]
    assert_opens(uri)


def test_found_passages_open_where_they_say(stack: Any, samples: dict[str, Any]) -> None:
    for query in ("battery life", "restocking charge", "factory reset", "Murrow S silent after battery change"):
        [told] = stack.json("search", query)
        assert told["passages"]
        for passage in told["passages"]:
            assert_opens(passage["uri"])


def test_what_the_documents_do_not_say_is_not_answered(stack: Any, samples: dict[str, Any]) -> None:
    shown = stack.corella("ask", "What did the first emperor of Rome eat for breakfast?").stdout
    assert "I do not know." in shown


def test_a_follow_up_finds_what_it_is_about(stack: Any, samples: dict[str, Any]) -> None:
    conversation = f"e2e-{uuid.uuid4().hex}"
    first = stack.ask("How long is the warranty of the Murrow Deep?", "--conversation", conversation)
    assert first["started"]["memory_state"] == "MEMORY_STATE_EMPTY"
    second = stack.ask("And at which depths does it measure?", "--conversation", conversation)
    assert second["started"]["memory_state"] == "MEMORY_STATE_RECALLED"
    assert "Murrow Deep" in second["started"]["standalone_question"]
    found = [passage["uri"] for passage in second["passages"]["passages"]]
    assert any("murrow-deep.html#depths" in uri for uri in found), found
    assert second["memory"]["budget"]["turn_count"] == 2


def test_questions_at_the_prompt_share_a_conversation(stack: Any, samples: dict[str, Any]) -> None:
    shown = stack.corella("ask", text=f"{QUESTION}\n/new\n{QUESTION}\n/quit\n").stdout
    assert shown.count("[1]") >= 2
    assert "A new conversation." in shown


def test_a_new_document_answers_within_seconds_and_a_deleted_one_no_more(stack: Any, tmp_path: Path) -> None:
    page, question = tmp_path / "archive.md", "Where are the data of the Zephrandel archive stored?"
    page.write_text(
        "# Questions about the Zephrandel archive\n\n## Where are the data stored?\n\n"
        "The data of the Zephrandel archive are stored in two vaults in Norway.\n\n## Who may enter?\n\nOnly the keeper may enter.\n"
    )
    began = time.monotonic()
    stack.corella("ingest", str(page), "--corpus", "archive")
    events = stack.ask(question, "--corpus", "archive")
    assert time.monotonic() - began < 30
    assert events["passages"]["passages"][0]["uri"].endswith("archive.md#where-are-the-data-stored")
    assert "Norway" in events["citations"]["answer"]["text"]
    assert events["citations"]["answer"]["citations"][0]["uri"].endswith("archive.md#where-are-the-data-stored")

    stack.corella("documents", "delete", str(page), "--corpus", "archive")
    assert stack.json("search", "Zephrandel vaults", "--corpus", "archive")[0]["passages"] == []
    after = stack.ask(question, "--corpus", "archive", "--refuse-below", "0")
    assert after["citations"]["answer"]["refused"]
    assert after["passages"]["passages"] == []
    stack.corella("documents", "get", str(page), "--corpus", "archive", ok=1)


@pytest.mark.slow
def test_kill_9_of_worker_and_retriever_loses_and_doubles_nothing(stack: Any, tmp_path: Path) -> None:
    """Slow because 120 documents are read and embedded while processes die and come back."""
    pages = tmp_path / "pages"
    pages.mkdir()
    count = 120
    for number in range(count):
        (pages / f"{number:03}.md").write_text(
            f"# Item {number}\n\nThe mark of item number {number} is qz{number:03}x. " + "It is kept in a box. " * 40
        )
    stack.corella("ingest", str(pages), "--corpus", "killed", "--no-wait")
    for name in ("worker", "retriever"):
        pid = stack.record().process(name).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        stack.wait_until_healthy(name, other_than=pid)
    # The same again, as somebody would who saw it break; it also waits for the end.
    stack.corella("ingest", str(pages), "--corpus", "killed", timeout=200)
    documents = stack.json("documents", "list", "--corpus", "killed", "--limit", "0")
    assert len(documents) == count
    assert {document["state"] for document in documents} == {"DOCUMENT_STATE_ACTIVE"}
    assert len({document["uri"] for document in documents}) == count
    assert "Nothing changed" in stack.corella("ingest", str(pages), "--corpus", "killed").stdout
    for number in (0, 59, 119):
        [told] = stack.json("search", f"qz{number:03}x", "--corpus", "killed", "--mode", "keyword")
        matching = [p for p in told["passages"] if f"qz{number:03}x" in p["text"]]
        assert len({passage["name"] for passage in matching}) == len(matching) >= 1
        assert len({passage["document"] for passage in matching}) == 1
    stack.corella("corpora", "delete", "killed", "--force")


def test_a_second_up_says_that_it_runs_already(stack: Any) -> None:
    assert "already runs" in stack.corella("up", "--detach").stdout


def test_taken_ports_are_named_with_their_owner(stack: Any, tmp_path: Path) -> None:
    base = stack.record().ports["embedder"] - 1
    done = stack.corella("--home", str(tmp_path / "other"), "up", "--detach", "--port-base", str(base), ok=1)
    assert f"port {base + 11} (valkey) by pid {stack.record().process('valkey').pid}" in done.stderr
