"""Everything a company has, at once: `make bench-company DATA="…/aws-docs-qa …/docs-html …/jira-apache-issues"` (8 minutes).

One corpus with a source for each test set, all syncing at the same time: directories of Markdown and HTML pages, and a Jira project, which
the tests' own server speaks as Jira Cloud does; and a directory of the hostile files and links of the tests. At the end every document that
is good must be ACTIVE, every bad one FAILED with a reason that it deserves, and no link followed. Exit status 1 if not.

A folder with `issues.jsonl` is a Jira project; one with `markdown/` or HTML pages is a directory. Writes `bench/results/company.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from bench.retriever_stack import MODEL, ROOT, RetrieverStack, running
from corella.cli.paging import every
from corella.errors import RpcFailure
from corella.v1 import operation_pb2, retriever_pb2, source_pb2
from corella.v1.source_pb2_grpc import SourceServiceStub

CORPUS = "company"
SECRET = "jira"
HOSTILE = "hostile"
_PAGES = ("*.md", "*.html")
"""At any depth."""
Row = dict[str, Any]

sys.path.insert(0, str(ROOT / "tests"))


@contextmanager
def jira(issues: Path, secrets: Path) -> Iterator[source_pb2.JiraSource]:
    """A server that speaks Jira's API over these issues, as a source; its token is put among the secrets."""
    from servers.atlassian_server import TOKEN, USER, AtlassianServer

    server = AtlassianServer()
    server.take_issues(issues)
    projects = sorted({key.rpartition("-")[0] for key in server.issues})
    (secrets / SECRET).write_text(TOKEN)
    with server:
        token = source_pb2.SecretReference(name=SECRET)
        yield source_pb2.JiraSource(base_url=server.url, project_keys=projects, user=USER, token=token)


def state_of(stack: RetrieverStack, operation: str) -> operation_pb2.Operation:
    """The operation as it is."""
    return stack.retriever.GetOperation(retriever_pb2.GetOperationRequest(name=operation), timeout=60).operation


def synced(stack: RetrieverStack, places: dict[str, source_pb2.Source]) -> dict[str, tuple[source_pb2.Source, float]]:
    """Creates the sources all at once, and waits for the end of each first sync: the source, and the seconds."""
    with grpc.insecure_channel(stack.retriever_address) as channel:
        sources: Any = SourceServiceStub(channel)
        stack.retriever.CreateCorpus(retriever_pb2.CreateCorpusRequest(corpus_id=CORPUS), timeout=60)
        started = time.perf_counter()
        waiting: dict[str, str] = {}
        for name, place in places.items():
            request = source_pb2.CreateSourceRequest(parent=f"corpora/{CORPUS}", source_id=name, source=place)
            waiting[name] = sources.CreateSource(request, timeout=60).source.current_operation
        ended: dict[str, tuple[source_pb2.Source, float]] = {}
        said = ""
        while waiting:
            time.sleep(0.5)
            for name, operation in list(waiting.items()):
                found = state_of(stack, operation)
                if found.HasField("end_time"):
                    wanted = source_pb2.GetSourceRequest(name=f"corpora/{CORPUS}/sources/{name}")
                    ended[name] = (sources.GetSource(wanted, timeout=60).source, time.perf_counter() - started)
                    del waiting[name]
                    print(f"{name} ended after {ended[name][1]:.0f} s", flush=True)
                elif found.message != said and time.perf_counter() - started > 1:
                    said = found.message
                    print(f"  {name}: {said}", flush=True)
        return ended


def documents(stack: RetrieverStack) -> Iterator[retriever_pb2.Document]:
    """All documents of the corpus."""
    request = retriever_pb2.ListDocumentsRequest(parent=f"corpora/{CORPUS}")
    return every(partial(stack.retriever.ListDocuments, timeout=60), request, "documents")


def place_of(data: Path) -> tuple[source_pb2.Source, int]:
    """A test set's pages as a directory source, and how many there are."""
    folder = data / "markdown" if (data / "markdown").is_dir() else data
    directory = retriever_pb2.DirectorySource(path=str(folder), include=list(_PAGES), base_uri=f"https://{data.name}.example.com/")
    return source_pb2.Source(directory=directory), sum(1 for pattern in _PAGES for _ in folder.rglob(pattern))


def measure(sets: list[Path]) -> dict[str, Any]:
    """Syncs everything and compares what came of it with what should have."""
    from hostile_files import write_hostile_files, write_hostile_links

    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="corella-bench-company-") as temporary:
        outside = Path(temporary)
        (outside / "secrets").mkdir(mode=0o700)
        (outside / "outside.md").write_text("# Not for you\n\nThis lies outside.\n")
        reasons = write_hostile_files(outside / HOSTILE)
        links = write_hostile_links(outside / HOSTILE, outside / "outside.md")
        (outside / HOSTILE / "good.md").write_text("# Good\n\nA good page among bad ones.\n")
        roots = [str(path) for path in (*sets, outside / HOSTILE)]
        os.environ["CORELLA_RETRIEVER_IMPORT_ROOTS"] = json.dumps(roots)
        os.environ["CORELLA_RETRIEVER_SECRETS_FOLDER"] = str(outside / "secrets")
        os.environ["CORELLA_RETRIEVER_FETCH__ALLOWED_HOSTS"] = '["127.0.0.1"]'
        issues = next((each / "issues.jsonl" for each in sets if (each / "issues.jsonl").is_file()), None)
        pages = {each.name: place_of(each) for each in sets if not (each / "issues.jsonl").is_file()}
        places = {name: place for name, (place, _) in pages.items()}
        good = {**{name: count for name, (_, count) in pages.items()}, HOSTILE: 1}
        hostile = retriever_pb2.DirectorySource(path=str(outside / HOSTILE), base_uri=f"https://{HOSTILE}.example.com/")
        places[HOSTILE] = source_pb2.Source(directory=hostile)
        if issues is None:
            raise SystemExit("One of the test sets must have issues.jsonl.")
        with jira(issues, outside / "secrets") as project, running(outside / "home") as stack:
            places["jira"] = source_pb2.Source(jira=project)
            good["jira"] = sum(1 for line in issues.read_text().splitlines() if line.strip())
            started = time.perf_counter()
            ended = synced(stack, places)
            seconds = time.perf_counter() - started
            found = list(documents(stack))
            chunks = stack.corpus(CORPUS).chunk_count
    return {
        **judged(found, ended, good, reasons, links),
        "seconds": seconds,
        "chunks": chunks,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load_before:.1f} before and {os.getloadavg()[0]:.1f} at the end",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def judged(
    found: list[retriever_pb2.Document],
    ended: dict[str, tuple[source_pb2.Source, float]],
    good: dict[str, int],
    reasons: dict[str, frozenset[str]],
    links: list[str],
) -> dict[str, Any]:
    """What came of each source, and everything that is not as it should be. `good`: how many documents of each must be ACTIVE."""
    rows: list[Row] = []
    wrong: list[str] = []
    failed: list[tuple[str, str]] = []
    for name, (source, seconds) in ended.items():
        last = source.last_sync
        rows.append({"source": name, "seconds": seconds, "active": 0, "failed": last.failed_count})
    by_source = {row["source"]: row for row in rows}
    failures = {item.uri: item for source, _ in ended.values() for item in source.last_sync.failures}
    states = {document.uri: document for document in found}
    for document in found:
        origin = document.source.rpartition("/")[2]
        name = document.uri.rpartition("/")[2]
        if document.state == retriever_pb2.DOCUMENT_STATE_ACTIVE:
            by_source[origin]["active"] += 1
            if origin == HOSTILE and name != "good.md":
                wrong.append(f"{name} is ACTIVE")
        elif origin != HOSTILE:
            wrong.append(f"{document.uri} is {retriever_pb2.DocumentState.Name(document.state)}: {document.error.message}")
    wrong += [
        f"{row['active']} of {good[row['source']]} of {row['source']} are ACTIVE" for row in rows if row["active"] != good[row["source"]]
    ]
    for name, expected in reasons.items():
        uri = f"https://{HOSTILE}.example.com/{name}"
        known, item = states.get(uri), failures.get(uri)
        error = known.error if known is not None and known.HasField("error") else item.error if item is not None else None
        reason = RpcFailure.from_status(error).reason if error is not None else "none"
        failed.append((name, reason))
        if reason not in expected:
            wrong.append(f"{name} failed with {reason}, not {' or '.join(sorted(expected))}")
    wrong += [f"the link {name} was followed" for name in links if any(uri.endswith(f"/{HOSTILE}.example.com/{name}") for uri in states)]
    return {"rows": rows, "failed": failed, "wrong": wrong}


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    total = sum(row["active"] for row in result["rows"])
    return "\n".join(
        [
            "# Everything at once",
            "",
            f"{result['machine']} · {result['date']}. Made by `make bench-company`.",
            f"{len(result['rows'])} sources of one corpus, synced at the same time: {total:,} documents ACTIVE, "
            f"{result['chunks']:,} chunks, {result['seconds']:.0f} s.",
            "",
            "| source | seconds | ACTIVE | failed |",
            "|---|---|---|---|",
            *(f"| {row['source']} | {row['seconds']:.0f} | {row['active']:,} | {row['failed']} |" for row in result["rows"]),
            "",
            "Reasons of the hostile files: "
            + ", ".join(f"{count} × `{reason}`" for reason, count in Counter(reason for _, reason in result["failed"]).most_common())
            + ".",
            "",
            "Not as it should be: " + ("; ".join(result["wrong"]) or "nothing") + ".",
            "",
        ]
    )


def main() -> int:
    """Measures and writes the report. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="Test sets: folders of pages, and one with issues.jsonl.")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results/company.md")
    arguments = parser.parse_args()
    if not MODEL.is_dir():
        raise SystemExit(f"There is no model in {MODEL}: `make models` prepares it.")
    result = measure([path.resolve() for path in arguments.data])
    text = table(result)
    arguments.output.write_text(text)
    print(text)
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
