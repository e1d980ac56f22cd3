"""Ingestion over gRPC beside LlamaIndex's pipeline and beside the embedder alone: `make bench-ingest DATA=…/aws-docs-qa` (12 minutes).

Three ways in turns, on the same pages of a test set, the same machine and the same embedding model:

    corella      the whole ingestion: embedder, retriever, worker, Milvus Lite and Valkey as `corella up` starts them, in a fresh folder;
                 from the call that hands the pages in to the operation's end, when every document is ACTIVE
    embedder     the chunks of that ingestion, once more, only embedded: through gRPC, as many texts a call and as many calls at once as
                 the worker sends
    llamaindex   IngestionPipeline: SentenceSplitter (200 tokens, 20 overlapping), HuggingFaceEmbedding (sentence-transformers), and
                 MilvusVectorStore on Milvus Lite; as it comes (float32, 10 texts a batch), and tuned (bfloat16, 64 texts a batch)

Everything has done a few pages before its clock starts. LlamaIndex gets text and no reader; its chunks are other chunks, so documents
count. Its packages (`bench/requirements-llamaindex.txt`) go into an environment of their own, .corella/bench-venv, made at the first run.
Writes `bench/results/ingest.md` and `.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from bench.retriever_stack import CALL_SECONDS, MODEL, ROOT, RetrieverStack, running
from bench.scoring import Part, part_of
from corella.cli.paging import every
from corella.evaluation.beir import load
from corella.v1 import embedder_pb2, retriever_pb2
from corella.v1.embedder_pb2_grpc import EmbedderServiceStub
from services.retriever.chunking import embedding_text
from services.retriever.settings import WorkerSettings

ENVIRONMENT = ROOT / ".corella/bench-venv"
REQUIREMENTS = ROOT / "bench/requirements-llamaindex.txt"
CALLS_PER_PROCESS = 2
"""Calls of the embedder that one process of the worker has under way (`services/retriever/ingestion.py`)."""
LLAMAINDEX: dict[str, dict[str, Any]] = {"llamaindex": {}, "llamaindex-tuned": {"batch": 64, "bfloat16": True}}
TITLES = {
    "corella": "Corella, whole ingestion",
    "embedder": "its embedder alone",
    "llamaindex": "LlamaIndex, as it comes",
    "llamaindex-tuned": "LlamaIndex, bfloat16, batches of 64",
}
GOALS = {"llamaindex": 2.0, "embedder": 0.85}
Round = dict[str, dict[str, Any]]


def make_environment() -> Path:
    """LlamaIndex's Python, on top of the packages that are here. Made anew when its requirements changed."""
    python, mark = ENVIRONMENT / "bin/python", ENVIRONMENT / "requirements.sha256"
    here = sysconfig.get_path("purelib")
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + here.encode()).hexdigest()
    if mark.exists() and mark.read_text() == wanted:
        return python
    print(f"LlamaIndex goes into {ENVIRONMENT} …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-qq", "--no-deps", "-r", str(REQUIREMENTS)], check=True)
    # Its own packages are found first, then those that are here: torch, sentence-transformers, Milvus Lite.
    (next(ENVIRONMENT.glob("lib/python*/site-packages")) / "zz-corella.pth").write_text(here + "\n")
    mark.write_text(wanted)
    return python


def llamaindex(python: Path, pages: Part, model: Path, options: dict[str, Any]) -> dict[str, Any]:
    """One ingestion in a process of its own, with a new store."""
    lines = "".join(json.dumps({"uri": page.id, "text": page.content.decode()}) + "\n" for page in pages.documents())
    with tempfile.TemporaryDirectory(prefix="corella-bench-") as folder:
        command = [str(python), str(ROOT / "bench/ingest_llamaindex.py"), str(model), folder, json.dumps(options)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        # It brings the data of its splitter along, and looks for it there unless told otherwise.
        for name in ("PYTHONPATH", "NLTK_DATA"):
            environment.pop(name, None)
        done = subprocess.run(command, env=environment, cwd=folder, input=lines, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"LlamaIndex failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if result["rows"] != result["chunks"]:
        raise SystemExit(f"LlamaIndex made {result['chunks']} chunks, of which {result['rows']} are in its store")
    return result


def corella(pages: Part, model: Path) -> tuple[Round, str]:
    """One ingestion in a fresh folder, then its chunks through the embedder alone; and what embeds."""
    with tempfile.TemporaryDirectory(prefix="corella-bench-") as folder, running(Path(folder), model=model) as stack:
        stack.warm_up()
        seconds = stack.ingest(pages, "pages", lambda _: None)
        corpus = stack.corpus("pages")
        if corpus.embedded_chunk_count != corpus.chunk_count:
            raise SystemExit(f"{corpus.chunk_count - corpus.embedded_chunk_count} chunks have no vector")
        texts = chunk_texts(stack, "pages")
        if len(texts) != corpus.chunk_count:
            raise SystemExit(f"{len(texts)} chunks are listed, {corpus.chunk_count} are counted")
        alone = asyncio.run(embed_all(stack.embedder_address, texts))
        return {
            "corella": {"seconds": seconds, "chunks": len(texts)},
            "embedder": {"seconds": alone, "chunks": len(texts)},
        }, stack.model_card()


def chunk_texts(stack: RetrieverStack, corpus: str) -> list[str]:
    """What was embedded for every chunk, document by document."""
    asked = retriever_pb2.ListDocumentsRequest(parent=f"corpora/{corpus}")
    documents = list(every(partial(stack.retriever.ListDocuments, timeout=CALL_SECONDS), asked, "documents"))
    open_ones = [document.uri for document in documents if document.state != retriever_pb2.DOCUMENT_STATE_ACTIVE]
    if open_ones:
        raise SystemExit(f"not ACTIVE: {', '.join(open_ones[:5])}")
    texts: list[str] = []
    for document in documents:
        request = retriever_pb2.ListChunksRequest(parent=document.name)
        chunks = every(partial(stack.retriever.ListChunks, timeout=CALL_SECONDS), request, "chunks")
        texts += [embedding_text(chunk.title, chunk.heading_path, chunk.text) for chunk in chunks]
    return texts


async def embed_all(address: str, texts: list[str]) -> float:
    """Seconds for all texts, with as many calls under way as the worker's processes have together."""
    settings = WorkerSettings()
    calls = asyncio.Semaphore(CALLS_PER_PROCESS * settings.processes)
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub: Any = EmbedderServiceStub(channel)

        async def embed(start: int) -> None:
            part = texts[start : start + settings.embed_texts]
            async with calls:
                await stub.Embed(
                    embedder_pb2.EmbedRequest(
                        texts=part, input_type=embedder_pb2.INPUT_TYPE_DOCUMENT, truncation=embedder_pb2.TRUNCATION_TRUNCATE
                    ),
                    timeout=600,
                )

        started = time.perf_counter()
        await asyncio.gather(*map(embed, range(0, len(texts), settings.embed_texts)))
        return time.perf_counter() - started


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All rounds; the ways take turns within each."""
    python = make_environment() if arguments.who else Path()
    pages = part_of(load(arguments.data), None if arguments.all else arguments.pages, seed=arguments.seed)
    count = sum(1 for _ in pages.documents())
    load_before = os.getloadavg()[0]
    rounds: list[Round] = []
    model_card = ""
    for number in range(arguments.rounds):
        done: Round = {}
        for way in sorted({"corella", *arguments.who}, reverse=bool(number % 2)):
            print(f"round {number + 1} of {arguments.rounds}: {TITLES[way]} …", file=sys.stderr, flush=True)
            if way == "corella":
                both, model_card = corella(pages, arguments.model)
                done |= both
            else:
                done[way] = llamaindex(python, pages, arguments.model, LLAMAINDEX[way])
        print("  " + ", ".join(f"{way} {result['seconds']:.1f} s" for way, result in done.items()), file=sys.stderr, flush=True)
        rounds.append(done)
    size = sum(len(page.content) for page in pages.documents())
    return summary(rounds, arguments.who) | {
        "pages": f"{count:,} {'' if arguments.all else 'sampled '}pages of {pages.name} ({size / 2**20:.1f} MiB)",
        "documents": count,
        "model": model_card,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load_before:.1f} before",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        "rounds": rounds,
    }


def summary(rounds: list[Round], who: list[str]) -> dict[str, Any]:
    """Medians over rounds; ratios are taken within a round."""
    ratios = {way: statistics.median(each[way]["seconds"] / each["corella"]["seconds"] for each in rounds) for way in ("embedder", *who)}
    return {
        "seconds": {way: statistics.median(each[way]["seconds"] for each in rounds) for way in ("corella", "embedder", *who)},
        "chunks": {way: rounds[0][way]["chunks"] for way in ("corella", "embedder", *who)},
        "ratios": ratios,
        "met": any(ratios[way] >= goal for way, goal in GOALS.items() if way in ratios),
    }


def versions() -> str:
    """The versions that matter on LlamaIndex's side."""
    pins = dict(line.split("==") for line in REQUIREMENTS.read_text().splitlines() if "==" in line)
    return ", ".join(f"{name} {pins[name]}" for name in ("llama-index-core", "llama-index-vector-stores-milvus", "pymilvus"))


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    seconds, chunks, ratios, documents = result["seconds"], result["chunks"], result["ratios"], result["documents"]
    rows = [["", "documents/s", "chunks", "chunks/s", "Corella's documents/s to its", "goal", ""], ["---"] * 7]
    for way, taken in seconds.items():
        goal = GOALS.get(way)
        verdict = "" if goal is None or way not in ratios else "met" if ratios[way] >= goal else "missed"
        rows.append([
            TITLES[way], f"{documents / taken:.2f}", f"{chunks[way]:,}", f"{chunks[way] / taken:.1f}",
            f"{ratios[way]:.2f}" if way in ratios else "", "" if goal is None else f"≥ {goal:g}", verdict,
        ])  # fmt: skip
    lines = [
        "# Ingestion beside LlamaIndex, and beside the embedder alone",
        "",
        f"{result['model']} · {result['machine']} · {result['date']} · {result['versions']}.",
        f"{result['pages']}; medians of {len(result['rounds'])} rounds in turns. Made by `make bench-ingest`.",
        "",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        f"One of the two goals must be met: {'met' if result['met'] else 'missed'}. Corella's seconds hold storing the pages, reading them "
        "along their headings, cutting, embedding, BM25 and the catalog; LlamaIndex's hold splitting, embedding and storing vectors. "
        "LlamaIndex cuts by sentences and its tokenizer's tokens, Corella by sections and the embedding model's.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measures and writes the results; exit status 1 when both goals are missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder in BEIR's form")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--pages", type=int, default=150, help="how many pages, chosen by --seed")
    parser.add_argument("--all", action="store_true", help="every page")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--who", nargs="*", choices=list(LLAMAINDEX), default=list(LLAMAINDEX), help="which of LlamaIndex's ways")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results/ingest.md")
    arguments = parser.parse_args()
    arguments.model = arguments.model.absolute()
    result = measure(arguments)
    text = table(result)
    arguments.output.write_text(text, encoding="utf-8")
    arguments.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(text)
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
