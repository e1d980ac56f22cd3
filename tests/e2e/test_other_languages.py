"""A client that knows nothing but reflection: `buf curl`, written in Go, creates a corpus, ingests, searches and asks."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

BUF = Path(sys.executable).parent / "buf"
PAGE = "# Returns\n\n## Condition of the goods\n\nA restocking charge of 17 percent applies to opened Borrandine crates.\n"


def curl(stack: Any, service: str, method: str, *messages: dict[str, Any], ok: bool = True) -> Any:
    """One call; the messages of the answer as JSON."""
    address = stack.home.addresses()[service]
    name = f"corella.v1.{service.capitalize()}Service/{method}"
    done = subprocess.run(
        [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", "@-", f"http://{address}/{name}"],
        input="\n".join(json.dumps(message) for message in messages), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if not ok:
        assert done.returncode != 0
        return json.loads(done.stderr)
    assert done.returncode == 0, done.stderr
    decoder, answers, rest = json.JSONDecoder(), [], done.stdout.strip()
    while rest:
        answer, end = decoder.raw_decode(rest)
        answers.append(answer)
        rest = rest[end:].strip()
    return answers


def test_create_ingest_search_and_ask_by_reflection_alone(stack: Any) -> None:
    [created] = curl(stack, "retriever", "CreateCorpus", {"corpusId": "by-reflection", "requestId": "r1"})
    assert created["corpus"]["name"] == "corpora/by-reflection"
    [again] = curl(stack, "retriever", "CreateCorpus", {"corpusId": "by-reflection", "requestId": "r1"})
    assert again["corpus"]["createTime"] == created["corpus"]["createTime"], "a repeat is answered as the first time"

    [begun] = curl(
        stack, "retriever", "IngestDocuments",
        {"start": {"parent": "corpora/by-reflection"}},
        {"document": {"uri": "https://docs.example.com/returns.md", "mimeType": "text/markdown"}},
        {"content": base64.b64encode(PAGE.encode()).decode()},
    )  # fmt: skip
    [ended] = curl(stack, "retriever", "WaitOperation", {"name": begun["operation"]["name"], "timeout": "30s"})
    assert (ended["operation"]["state"], ended["operation"]["succeededCount"]) == ("OPERATION_STATE_SUCCEEDED", 1)

    question = "What restocking charge applies to opened Borrandine crates?"
    [found] = curl(stack, "retriever", "Search", {"corpus": "corpora/by-reflection", "query": question})
    assert found["passages"][0]["uri"] == "https://docs.example.com/returns.md#condition-of-the-goods"

    request = {"question": question, "corpus": "corpora/by-reflection", "retrieval": {"refusalThreshold": 0}, "skipMemory": True}
    events = curl(stack, "generator", "Ask", request)
    assert "started" in events[0]
    answer = next(event["citations"]["answer"] for event in events if "citations" in event)
    assert "17" in answer["text"]
    assert answer["citations"][0]["uri"] == "https://docs.example.com/returns.md#condition-of-the-goods"

    curl(stack, "retriever", "DeleteCorpus", {"name": "corpora/by-reflection", "force": True})


def test_errors_are_rich_for_other_languages_too(stack: Any) -> None:
    error = curl(stack, "retriever", "GetCorpus", {"name": "corpora/nowhere"}, ok=False)
    assert error["code"] == "not_found"
    assert any(detail.get("type") == "google.rpc.ErrorInfo" for detail in error["details"])


@pytest.mark.parametrize("service", ["embedder", "retriever", "generator", "trainer"])
def test_every_service_answers_health_checks_and_lists_itself(stack: Any, service: str) -> None:
    address = stack.home.addresses()[service]
    [health] = _health(address)
    assert health["status"] == "SERVING"
    done = subprocess.run(
        [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--list-methods", f"http://{address}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert f"corella.v1.{service.capitalize()}Service/" in done.stdout


def _health(address: str) -> list[Any]:
    done = subprocess.run(
        [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", "{}", f"http://{address}/grpc.health.v1.Health/Check"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [json.loads(done.stdout)]
