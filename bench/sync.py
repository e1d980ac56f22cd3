"""What it costs to keep up with a directory: `make bench-sync DATA=…/aws-docs-qa` (6 minutes).

A directory source over the Markdown pages of a test set, on a real stack: the first sync; a sync of the unchanged pages, from what the
place says of their versions; one that reads everything and compares it by content; and one after a paragraph of one page was changed. The
pages are copied to a temporary folder, because one of them is changed.

Texts are counted on their way to the embedder, by a server in between that hands every call on: whatever is embedded is counted there. How
many chunks a change really changed follows from the ids of the page's chunks before and after, which follow from what is embedded.
Writes `bench/results/sync.md` and `.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc

from bench.retriever_stack import MODEL, ROOT, RetrieverStack, running
from corella.v1 import embedder_pb2, operation_pb2, retriever_pb2, source_pb2
from corella.v1.source_pb2_grpc import SourceServiceStub

CORPUS, NAME = "pages", "corpora/pages/sources/pages"
GOAL_SHARE = 0.05
_OPTIONS = [("grpc.max_receive_message_length", 64 * 2**20), ("grpc.max_send_message_length", 64 * 2**20)]
Stage = dict[str, Any]


class Counting(grpc.GenericRpcHandler):
    """Hands every call on to the embedder, and counts the texts that are embedded as documents."""

    def __init__(self, address: str) -> None:
        self.texts = 0
        self._channel = grpc.insecure_channel(address, _OPTIONS)

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        forward = self._channel.unary_unary(details.method)
        metadata = [(key, value) for key, value in details.invocation_metadata if key not in {"user-agent"}]

        def call(request: bytes, context: grpc.ServicerContext) -> bytes:
            if details.method.endswith("/Embed"):
                asked = embedder_pb2.EmbedRequest.FromString(request)
                self.texts += len(asked.texts) if asked.input_type != embedder_pb2.INPUT_TYPE_QUERY else 0
            try:
                answer: bytes = forward(request, timeout=context.time_remaining(), metadata=metadata)
                return answer
            except grpc.RpcError as error:
                context.set_trailing_metadata(error.trailing_metadata())
                context.abort(error.code(), error.details())
                raise

        return grpc.unary_unary_rpc_method_handler(call)


@contextmanager
def counted(address: str) -> Iterator[tuple[Counting, str]]:
    """A counting server before an embedder, and its address."""
    handler = Counting(address)
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[handler], options=_OPTIONS)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield handler, f"127.0.0.1:{port}"
    finally:
        server.stop(None)


def wait(stack: RetrieverStack, operation: str) -> operation_pb2.Operation:
    """The operation once it has ended."""
    request = retriever_pb2.WaitOperationRequest(name=operation)
    while True:
        request.timeout.FromSeconds(20)
        found = stack.retriever.WaitOperation(request, timeout=60).operation
        if found.HasField("end_time"):
            return found
        print(f"  {found.message}", flush=True)


def chunk_names(stack: RetrieverStack, document: str) -> set[str]:
    """Names of a document's chunks."""
    response = stack.retriever.ListChunks(retriever_pb2.ListChunksRequest(parent=document, page_size=1000), timeout=60)
    return {chunk.name for chunk in response.chunks}


def change(page: Path) -> None:
    """Adds a sentence to the longest paragraph of a page."""
    blocks = page.read_text().split("\n\n")
    prose = [index for index, block in enumerate(blocks) if block and block[0].isalpha()]
    longest = max(prose, key=lambda index: len(blocks[index]))
    blocks[longest] += " This sentence was not here before."
    page.write_text("\n\n".join(blocks))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All stages, and where they were measured."""
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="corella-bench-sync-") as temporary:
        place = Path(temporary) / "place"
        shutil.copytree(arguments.data / "markdown" if (arguments.data / "markdown").is_dir() else arguments.data, place)
        os.environ["CORELLA_RETRIEVER_IMPORT_ROOTS"] = json.dumps([str(place)])
        with running(Path(temporary) / "home", "valkey", "milvus", "embedder", model=arguments.model) as stack:
            with counted(stack.embedder_address) as (counting, address):
                for name in ("retriever", "worker"):
                    stack.environment(name)["CORELLA_RETRIEVER_EMBEDDER__ADDRESS"] = address
                stack.start("retriever", "worker")
                stack.warm_up()
                stages, chunks = run(stack, counting, place)
            card = stack.model_card()
    return {
        "stages": stages,
        "chunks": chunks,
        "model": card,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load_before:.1f} before and {os.getloadavg()[0]:.1f} at the end",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def run(stack: RetrieverStack, counting: Counting, place: Path) -> tuple[list[Stage], dict[str, int]]:
    """The syncs in order; how many chunks there are, and how many the change of a page changed."""
    channel = grpc.insecure_channel(stack.retriever_address)
    sources = SourceServiceStub(channel)
    stack.retriever.CreateCorpus(retriever_pb2.CreateCorpusRequest(corpus_id=CORPUS), timeout=60)
    stages: list[Stage] = []

    def sync(title: str, **how: bool) -> None:
        counting.texts = 0
        started = time.perf_counter()
        if stages:
            operation = sources.SyncSource(source_pb2.SyncSourceRequest(name=NAME, **how), timeout=60).operation.name
        else:
            directory = retriever_pb2.DirectorySource(path=str(place), base_uri="https://docs.example.com/")
            request = source_pb2.CreateSourceRequest(
                parent=f"corpora/{CORPUS}", source_id="pages", source=source_pb2.Source(directory=directory)
            )
            operation = sources.CreateSource(request, timeout=60).source.current_operation
        ended = wait(stack, operation)
        seconds = time.perf_counter() - started
        last = sources.GetSource(source_pb2.GetSourceRequest(name=NAME), timeout=60).source.last_sync
        if ended.state != operation_pb2.OPERATION_STATE_SUCCEEDED or last.failed_count:
            reasons = "; ".join(f"{item.uri}: {item.error.message}" for item in last.failures[:3])
            raise SystemExit(f"{title} failed: {ended.error.message} {reasons}")
        counts = {name: getattr(last, f"{name}_count") for name in ("added", "changed", "removed", "unchanged")}
        stages.append({"title": title, "seconds": seconds, "texts": counting.texts, **counts})
        print(f"{title}: {seconds:.1f} s, {counting.texts:,} texts embedded, {counts}", flush=True)

    sync("first sync")
    for title in ("nothing changed", "nothing changed, again", "nothing changed, a third time"):
        sync(title)
    sync("nothing changed, all read (`--full`)", full=True)
    total = stack.corpus(CORPUS).chunk_count
    documents = stack.retriever.ListDocuments(retriever_pb2.ListDocumentsRequest(parent=f"corpora/{CORPUS}", page_size=1000), timeout=60)
    page = max(documents.documents, key=lambda document: document.chunk_count)
    before = chunk_names(stack, page.name)
    change(place / page.uri.removeprefix("https://docs.example.com/"))
    sync("one page changed")
    after = chunk_names(stack, page.name)
    channel.close()
    return stages, {"all": total, "of_the_page": len(after), "changed": len(after - before)}


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    stages, chunks = result["stages"], result["chunks"]
    first, unchanged, changed = stages[0], [each for each in stages if each["title"].startswith("nothing changed")], stages[-1]
    rows = [
        f"| {each['title']} | {each['seconds']:.1f} | {100 * each['seconds'] / first['seconds']:.1f} % | {each['texts']:,} "
        f"| {each['added']:,} | {each['changed']:,} | {each['unchanged']:,} |"
        for each in stages
    ]
    quick = sorted(each["seconds"] for each in unchanged if "--full" not in each["title"])
    share = quick[len(quick) // 2] / first["seconds"]
    none = all(each["texts"] == 0 for each in unchanged)
    exact = changed["texts"] == chunks["changed"]
    goals = [
        ("unchanged pages cost ≤ 5 % of the first sync", f"{100 * share:.2f} % (median of {len(quick)})", share <= GOAL_SHARE),
        ("unchanged pages have nothing embedded", "0 texts" if none else "some", none),
        (
            "a changed page has only its changed chunks embedded",
            f"{changed['texts']} embedded, {chunks['changed']} of {chunks['of_the_page']} changed",
            exact,
        ),
    ]
    lines = [
        "# What keeping up with a directory costs",
        "",
        f"{result['model']} · {result['machine']} · {result['date']}.",
        f"Made by `make bench-sync`: a directory source of {first['added']:,} pages, {chunks['all']:,} chunks, on Milvus Lite.",
        "Texts are counted on their way to the embedder. A sync ends when what it found can be searched.",
        "",
        "| sync | seconds | of the first | texts embedded | added | changed | unchanged |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        "| goal | measured | |",
        "|---|---|---|",
        *(f"| {goal} | {measured} | {'met' if met else 'missed'} |" for goal, measured, met in goals),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measures and writes the report. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="Folder of Markdown pages, or a test set with a folder `markdown`.")
    parser.add_argument("--model", type=Path, default=MODEL, help="Folder of the embedding model.")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results/sync.md")
    arguments = parser.parse_args()
    result = measure(arguments)
    text = table(result)
    arguments.output.write_text(text)
    arguments.output.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
