"""Web, Jira and Confluence sources over the wire, kept like sites of their kind that change while we look."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import redis
from retriever_stack import CALL_SECONDS, RetrieverStack, failure

from corella.errors import RpcFailure
from corella.v1 import operation_pb2, source_pb2
from corella.v1 import retriever_pb2 as pb

sys.path.insert(0, str(Path(__file__).parent.parent / "servers"))

from atlassian_server import TOKEN, USER, AtlassianServer
from web_server import WebServer

SECRET = source_pb2.SecretReference(name="atlassian")


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server  # type: ignore[misc]


@pytest.fixture
def atlassian(toy_stack: RetrieverStack) -> Iterator[AtlassianServer]:
    (toy_stack.secrets / SECRET.name).write_text(f"{TOKEN}\n")
    with AtlassianServer() as server:
        yield server  # type: ignore[misc]


class Kept:
    """A corpus with one source."""

    def __init__(self, stack: RetrieverStack, corpus: str, source: source_pb2.Source) -> None:
        self.stack, self.corpus, self.name = stack, corpus, f"corpora/{corpus}/sources/site"
        stack.create(corpus)
        request = source_pb2.CreateSourceRequest(parent=f"corpora/{corpus}", source_id="site", source=source)
        self.first = stack.sources.CreateSource(request, timeout=CALL_SECONDS).source
        # None where the first sync ended before the answer was written.
        if self.first.current_operation:
            stack.wait(operation_pb2.Operation(name=self.first.current_operation))

    def get(self) -> source_pb2.Source:
        return self.stack.sources.GetSource(source_pb2.GetSourceRequest(name=self.name), timeout=CALL_SECONDS).source

    def begin(self) -> operation_pb2.Operation:
        return self.stack.sources.SyncSource(source_pb2.SyncSourceRequest(name=self.name), timeout=CALL_SECONDS).operation

    def sync(self) -> source_pb2.Source:
        self.stack.wait(self.begin())
        return self.get()

    def finds(self, words: str) -> list[str]:
        found = self.stack.search(self.corpus, words, mode=pb.SEARCH_MODE_KEYWORD).passages
        return [passage.uri for passage in found]

    def document(self, ending: str) -> pb.Document:
        return next(each for uri, each in self.stack.documents(self.corpus).items() if uri.endswith(ending))


def counts(source: source_pb2.Source) -> tuple[int, int, int, int, int]:
    """Added, changed, removed, unchanged, failed."""
    last = source.last_sync
    return last.added_count, last.changed_count, last.removed_count, last.unchanged_count, last.failed_count


def test_answers_follow_a_web_site(toy_stack: RetrieverStack, web: WebServer) -> None:
    links = "".join(f'<a href="/{name}.html">{name}</a>' for name in ("one", "two", "three"))
    web.put("/", f"<h1>Start</h1>{links}")
    for name in ("one", "two", "three"):
        web.put(f"/{name}.html", f"<h1>{name}</h1><p>the {name} word</p>")
    kept = Kept(toy_stack, "web", source_pb2.Source(web=source_pb2.WebSource(start_url=f"{web.url}/")))
    source = kept.get()
    assert (source.state, counts(source)) == (source_pb2.SOURCE_STATE_IDLE, (4, 0, 0, 0, 0))
    assert kept.finds("three")[0].startswith(f"{web.url}/three.html")
    assert counts(kept.sync()) == (0, 0, 0, 4, 0)
    web.put("/two.html", "<h1>two</h1><p>rewritten</p>")
    web.remove("/three.html")
    web.put("/", "<h1>Start</h1>" + links.replace('<a href="/three.html">three</a>', ""))
    assert counts(kept.sync()) == (0, 2, 1, 1, 0)
    assert kept.finds("rewritten")
    assert all("three.html" not in uri for uri in kept.finds("three"))


def test_answers_follow_projects_of_jira(toy_stack: RetrieverStack, atlassian: AtlassianServer) -> None:
    place = source_pb2.JiraSource(base_url=atlassian.url, project_keys=["SUP", "OPS"], user=USER, token=SECRET)
    kept = Kept(toy_stack, "jira", source_pb2.Source(jira=place))
    source = kept.get()
    assert (source.state, counts(source)) == (source_pb2.SOURCE_STATE_IDLE, (7, 0, 0, 0, 0))
    assert source.jira.token.name == SECRET.name
    assert kept.document("OPS-2").access.level == pb.ACCESS_LEVEL_LISTED
    assert kept.document("OPS-3").access.level == pb.ACCESS_LEVEL_NOBODY
    assert counts(kept.sync()) == (0, 0, 0, 7, 0)
    atlassian.now_is(minutes=5)
    atlassian.comment("OPS-1", "9001", "A zanzibarium cell keeps the clock.", author={"accountId": "1", "displayName": "Maren"})
    atlassian.remove_issue("SUP-1070")
    assert counts(kept.sync()) == (0, 1, 1, 5, 0)
    assert kept.finds("zanzibarium")[0].startswith(f"{atlassian.url}/browse/OPS-1")
    assert kept.finds("salinity") == []
    # Who may see an issue changes: nothing is indexed anew, and it holds.
    atlassian.secure("OPS-1", "10100")
    before = kept.document("OPS-1")
    source = kept.sync()
    assert counts(source)[:3] == (0, 1, 0)
    assert kept.document("OPS-1").access == kept.document("OPS-2").access != before.access


def test_answers_follow_spaces_of_confluence(toy_stack: RetrieverStack, atlassian: AtlassianServer) -> None:
    place = source_pb2.ConfluenceSource(base_url=f"{atlassian.url}/wiki", space_keys=["HAND"], user=USER, token=SECRET)
    kept = Kept(toy_stack, "confluence", source_pb2.Source(confluence=place))
    source = kept.get()
    assert source.state == source_pb2.SOURCE_STATE_IDLE
    added = source.last_sync.added_count
    assert added >= 5
    assert counts(kept.sync()) == (0, 0, 0, added, 0)
    atlassian.put_page("1001", body="<p>Trains before planes, says the quokkaline rule.</p>")
    assert counts(kept.sync()) == (0, 1, 0, added - 1, 0)
    assert kept.finds("quokkaline")
    atlassian.restrict("1001", groups=["travel-desk"])
    assert counts(kept.sync()) == (0, 1, 0, added - 1, 0)
    changed = next(each for uri, each in toy_stack.documents("confluence").items() if "1001" in uri)
    assert list(changed.access.groups) == ["travel-desk"]


def test_a_site_that_is_away_is_waited_for_and_a_token_that_is_refused_is_not(
    toy_stack: RetrieverStack, atlassian: AtlassianServer
) -> None:
    place = source_pb2.JiraSource(base_url=atlassian.url, project_keys=["SUP"], user=USER, token=SECRET)
    kept = Kept(toy_stack, "moody", source_pb2.Source(jira=place))
    documents = len(toy_stack.documents("moody"))
    atlassian.fail("/rest/", code=503, times=-1)
    operation = kept.begin()
    states = set()
    ends_at = time.monotonic() + 60
    while operation_pb2.OPERATION_STATE_WAITING_TO_RETRY not in states and time.monotonic() < ends_at:
        request = pb.GetOperationRequest(name=operation.name)
        states.add(toy_stack.stub.GetOperation(request, timeout=CALL_SECONDS).operation.state)
        time.sleep(0.05)
    assert operation_pb2.OPERATION_STATE_WAITING_TO_RETRY in states
    atlassian.heal()
    assert toy_stack.wait(operation).state == operation_pb2.OPERATION_STATE_SUCCEEDED
    (toy_stack.secrets / SECRET.name).write_text("another\n")
    source = kept.sync()
    assert source.state == source_pb2.SOURCE_STATE_FAILED
    assert RpcFailure.from_status(source.error).reason == "SOURCE_REFUSED"
    assert len(toy_stack.documents("moody")) == documents


def test_a_secret_is_never_told(toy_stack: RetrieverStack, atlassian: AtlassianServer) -> None:
    place = source_pb2.JiraSource(base_url=atlassian.url, project_keys=["SUP"], user=USER, token=SECRET)
    kept = Kept(toy_stack, "secret", source_pb2.Source(jira=place))
    assert TOKEN not in str(kept.get())
    request = source_pb2.CreateSourceRequest(
        parent="corpora/secret", source_id="other", source=source_pb2.Source(jira=source_pb2.JiraSource())
    )
    request.source.jira.CopyFrom(place)
    request.source.jira.token.name = "nothing-of-this-name"
    with pytest.raises(grpc.RpcError) as error:
        toy_stack.sources.CreateSource(request, timeout=CALL_SECONDS)
    assert failure(error.value).reason == "SOURCE_SECRET_MISSING"
    assert TOKEN not in toy_stack.log("worker") + toy_stack.log("retriever")
    store = redis.Redis.from_url(toy_stack.redis_url)
    for key in store.scan_iter("*source*"):
        if store.type(key) == b"hash":
            assert TOKEN.encode() not in b" ".join([value for pair in store.hgetall(key).items() for value in pair])


def test_an_address_inside_the_network_is_not_fetched_unless_it_is_named(toy_stack: RetrieverStack) -> None:
    kept = Kept(toy_stack, "inside", source_pb2.Source(web=source_pb2.WebSource(start_url="http://169.254.169.254/latest/meta-data/")))
    source = kept.get()
    assert source.state == source_pb2.SOURCE_STATE_FAILED
    assert RpcFailure.from_status(source.error).reason
    assert len(toy_stack.documents("inside")) == 0
