"""Sources of every kind, by the command line: they sync, change and lose documents, and the answers follow."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))

from atlassian_server import TOKEN, USER, AtlassianServer
from web_server import WebServer

pytestmark = pytest.mark.e2e


@pytest.fixture
def atlassian(stack: Any) -> Iterator[AtlassianServer]:
    (stack.secrets / "atlassian").write_text(TOKEN)
    with AtlassianServer() as server:
        yield server  # type: ignore[misc]


def kept(stack: Any, *arguments: str) -> None:
    """`corella sources …`, until answers are current."""
    stack.corella("sources", *arguments, "--wait")


def asked(stack: Any, corpus: str, question: str, *who: str) -> tuple[str, list[str], list[dict[str, Any]]]:
    """The answer, the addresses it cites, and the passages it was written from. Which of them the small model uses is its own affair."""
    events = {kind: content for line in stack.json(*who, "ask", question, "--corpus", corpus) for kind, content in line.items()}
    answer = events["citations"]["answer"]
    return answer["text"], [citation["uri"] for citation in answer.get("citations", [])], events["passages"]["passages"]


def finds(stack: Any, corpus: str, words: str, *who: str) -> list[str]:
    """Addresses of the passages a search finds."""
    found = stack.json(*who, "search", words, "--corpus", corpus)
    return [passage["uri"] for entry in found for passage in entry.get("passages", [entry] if "uri" in entry else [])]


def test_answers_follow_a_directory_with_its_permissions(stack: Any) -> None:
    folder = stack.imports / "handbook"
    folder.mkdir()
    (folder / "falcon.md").write_text("# Falcon X200\n\n## Warranty\n\nThe Falcon X200 has a warranty of 27 months.\n")
    (folder / "pay.md").write_text("# Pay\n\n## Bonus\n\nThe bonus of the directors is 90,000 crowns.\n")
    (folder / "pay.md.access.json").write_text('{"groups": ["board"]}')
    stack.corella("corpora", "create", "handbook")
    kept(stack, "create", "directory", "files", str(folder), "--corpus", "handbook")
    # Who is not of the board does not meet the other page, in any way.
    ann = ("--as-user", "ann", "--as-groups", "staff")
    text, uris, passages = asked(stack, "handbook", "How long is the warranty of the Falcon X200?", *ann)
    assert "27" in text
    assert uris[0].endswith("falcon.md#warranty")
    assert len(passages) == 1
    assert all("pay.md" not in uri for uri in finds(stack, "handbook", "bonus of the directors", *ann))
    assert any("pay.md" in uri for uri in finds(stack, "handbook", "bonus of the directors", "--as-user", "bo", "--as-groups", "board"))
    assert len(stack.json(*ann, "documents", "list", "--corpus", "handbook")) == 1

    (folder / "falcon.md").write_text("# Falcon X200\n\n## Warranty\n\nThe Falcon X200 has a warranty of 31 months.\n")
    (folder / "pay.md").unlink()
    kept(stack, "sync", "files", "--corpus", "handbook")
    text, _, _ = asked(stack, "handbook", "How long is the warranty of the Falcon X200?")
    assert "31" in text
    assert "27" not in text
    assert all("pay.md" not in uri for uri in finds(stack, "handbook", "bonus of the directors"))


def test_answers_follow_a_web_site(stack: Any) -> None:
    with WebServer() as web:
        web.put("/", "<h1>Shop</h1><a href='/hours.html'>hours</a> <a href='/sale.html'>sale</a>")
        web.put("/hours.html", "<h1>Hours</h1><h2 id='open'>Opening</h2><p>The shop opens at 9 o'clock in the morning.</p>")
        web.put("/sale.html", "<h1>Sale</h1><p>Everything purple is half price.</p>")
        stack.corella("corpora", "create", "shop")
        kept(stack, "create", "web", "site", f"{web.url}/", "--corpus", "shop")
        text, uris, _ = asked(stack, "shop", "When does the shop open?")
        assert "9" in text
        assert uris[0] == f"{web.url}/hours.html#open"
        web.put("/hours.html", "<h1>Hours</h1><h2 id='open'>Opening</h2><p>The shop opens at 11 o'clock in the morning.</p>")
        web.put("/", "<h1>Shop</h1><a href='/hours.html'>hours</a>")
        web.remove("/sale.html")
        kept(stack, "sync", "site", "--corpus", "shop")
        assert "11" in asked(stack, "shop", "When does the shop open?")[0]
        assert all("sale.html" not in uri for uri in finds(stack, "shop", "purple half price"))


def test_answers_follow_jira_and_confluence(stack: Any, atlassian: AtlassianServer) -> None:
    stack.corella("corpora", "create", "support")
    told = ("--account", USER, "--token", "atlassian", "--corpus", "support")
    kept(stack, "create", "jira", "issues", atlassian.url, "--project", "OPS", "--project", "SUP", *told)
    kept(stack, "create", "confluence", "pages", f"{atlassian.url}/wiki", "--space", "HAND", *told)
    sources = {source["name"].rpartition("/")[2]: source for source in stack.json("sources", "list", "--corpus", "support")}
    assert set(sources) == {"issues", "pages"}
    assert TOKEN not in str(sources)
    atlassian.now_is(minutes=5)
    atlassian.comment(
        "OPS-1", "9001", "The zanzibarium cell has a warranty of 14 months.", author={"accountId": "1", "displayName": "Maren"}
    )
    kept(stack, "sync", "issues", "--corpus", "support")
    _, _, passages = asked(stack, "support", "How long is the warranty of the zanzibarium cell?")
    texts = {passage["uri"]: passage["text"] for passage in passages}
    assert "14 months" in texts[f"{atlassian.url}/browse/OPS-1?focusedCommentId=9001"]
    atlassian.remove_issue("OPS-1")
    kept(stack, "sync", "issues", "--corpus", "support")
    assert all("OPS-1" not in uri for uri in finds(stack, "support", "zanzibarium cell warranty"))
    text, uris, passages = asked(stack, "support", "How long is the warranty of the zanzibarium cell?")
    assert "14" not in text
    assert all("OPS-1?" not in uri for uri in (*uris, *(passage["uri"] for passage in passages)))


def test_a_deleted_document_leaves_nothing(stack: Any, tmp_path: Path) -> None:
    page = tmp_path / "secret.md"
    page.write_text("# Vault\n\n## Code\n\nThe code of the vault is 7731.\n")
    stack.corella("corpora", "create", "vault")
    stack.corella("ingest", str(page), "--corpus", "vault")
    asked = stack.ask("What is the code of the vault?", "--corpus", "vault", "--conversation", "vault-talk")
    assert "7731" in asked["citations"]["answer"]["text"]
    [document] = stack.json("documents", "list", "--corpus", "vault")
    stack.corella("documents", "delete", document["name"])
    audit = stack.corella("documents", "audit", document["name"])
    assert "7731" not in audit.stdout
    after = stack.ask("And what was that code again?", "--corpus", "vault", "--conversation", "vault-talk")
    assert "7731" not in str(after)
