"""The embedder through gRPC beside sentence-transformers' own default: `python -m bench.embed` (two minutes, `make bench-embed`).

Three processes on one machine: this one runs `SentenceTransformer(folder).encode(...)`, float32, as it comes; a real embedder listens on
loopback; a client process calls it from 32 concurrent callers, one text a call. Rounds alternate between the two, and the ratios are
medians over rounds, so that a machine that is slow for a while is slow for both. Writes `bench/results/embed.md` and `.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from corella.v1 import embedder_pb2 as pb
from corella.v1.embedder_pb2_grpc import EmbedderServiceStub

ROOT = Path(__file__).resolve().parent.parent
CALLERS = 32
TEXTS = 256
QUERIES = 40
ROUNDS = 3
GOALS = {"throughput": 1.7, "latency": 0.6, "cosine": 0.999}


def make_texts() -> list[str]:
    """256 texts of 40 to 160 words, cut from the sample pages; always the same."""
    pages = sorted(path for path in (ROOT / "samples/pages").rglob("*") if path.suffix in {".md", ".html"})
    words = re.sub(r"<[^>]+>", " ", " ".join(page.read_text(encoding="utf-8") for page in pages)).split()
    rng = random.Random(20261123)
    lengths = [rng.randint(40, 160) for _ in range(TEXTS)]
    starts = [rng.randrange(len(words) - length) for length in lengths]
    return [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]


def make_queries() -> list[str]:
    """The first 40 sample questions."""
    lines = (ROOT / "samples/questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["question"] for line in lines[:QUERIES]]


async def client(address: str, texts: list[str], queries: list[str]) -> dict[str, Any]:
    """One round against the service: seconds for all texts from 32 callers, seconds of each query alone, and of queries beside the load."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = EmbedderServiceStub(channel)
        vectors: list[list[float]] = [[] for _ in texts]

        async def caller(indices: list[int]) -> None:
            for index in indices:
                response = await stub.Embed(pb.EmbedRequest(texts=[texts[index]], truncation=pb.TRUNCATION_TRUNCATE))
                vectors[index] = list(response.embeddings[0].values)

        async def ask(query: str) -> float:
            started = time.perf_counter()
            await stub.Embed(pb.EmbedRequest(texts=[query], input_type=pb.INPUT_TYPE_QUERY))
            return time.perf_counter() - started

        await stub.Embed(pb.EmbedRequest(texts=texts[:8], truncation=pb.TRUNCATION_TRUNCATE))
        started = time.perf_counter()
        await asyncio.gather(*(caller(list(range(number, len(texts), CALLERS))) for number in range(CALLERS)))
        seconds = time.perf_counter() - started
        alone = [await ask(query) for query in queries]

        async def bulk() -> None:
            while True:
                await stub.Embed(pb.EmbedRequest(texts=texts, truncation=pb.TRUNCATION_TRUNCATE))

        beside_bulk = asyncio.ensure_future(bulk())
        beside = [await ask(query) for query in queries[:10]]
        if beside_bulk.done():
            raise SystemExit("the calls with all texts failed before the queries beside them were answered: nothing was measured")
        beside_bulk.cancel()
        await asyncio.wait({beside_bulk})
    return {"seconds": seconds, "alone": alone, "beside": beside, "vectors": vectors}


def service_round(address: str, inputs: Path) -> dict[str, Any]:
    """Runs `client` in a process of its own."""
    command = [sys.executable, "-m", "bench.embed", "--client", address, str(inputs)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=300)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def library_round(model: Any, texts: list[str], queries: list[str]) -> dict[str, Any]:
    """The same with sentence-transformers, in this process."""
    model.encode(texts[:8])
    started = time.perf_counter()
    vectors = model.encode(texts)
    seconds = time.perf_counter() - started
    alone = []
    for query in queries:
        started = time.perf_counter()
        model.encode(query)
        alone.append(time.perf_counter() - started)
    return {"seconds": seconds, "alone": alone, "vectors": vectors}


def start_server(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A real embedder on a free port, ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "CORELLA_EMBEDDER_SERVER__PORT": str(port), "CORELLA_EMBEDDER_MODEL__FOLDER": str(folder)}
    server = subprocess.Popen([sys.executable, "-m", "services.embedder"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=120)
    return server, f"127.0.0.1:{port}"


def measure(folder: Path) -> dict[str, Any]:
    """All rounds. The server is ended whatever happens."""
    from sentence_transformers import SentenceTransformer

    load_before = os.getloadavg()[0]
    texts, queries = make_texts(), make_queries()
    inputs = Path(os.environ.get("TMPDIR", "/tmp")) / f"embed-bench-{os.getpid()}.json"
    inputs.write_text(json.dumps([texts, queries]))
    server, address = start_server(folder)
    try:
        with grpc.insecure_channel(address) as channel:
            card = EmbedderServiceStub(channel).GetModel(pb.GetModelRequest()).model
        library = SentenceTransformer(str(folder), device=card.device)
        rounds = []
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS} …", file=sys.stderr, flush=True)
            rounds.append((library_round(library, texts, queries), service_round(address, inputs)))
    finally:
        server.terminate()
        server.wait(30)
        inputs.unlink()
    return summary(rounds, f"{card.display_name} ({card.device}, {card.dtype})", load_before)


def summary(rounds: list[tuple[dict[str, Any], dict[str, Any]]], model: str, load_before: float) -> dict[str, Any]:
    """Medians over rounds; ratios are taken within a round."""

    def unit(vectors: Any) -> Any:
        array = np.asarray(vectors, dtype=np.float64)
        return array / np.linalg.norm(array, axis=1, keepdims=True)

    cosines = (unit(rounds[0][0]["vectors"]) * unit(rounds[0][1]["vectors"])).sum(1)
    median = statistics.median
    return {
        "model": model,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load_before:.1f} before",
        "date": datetime.now(UTC).date().isoformat(),
        "library_texts_per_second": median(TEXTS / library["seconds"] for library, _ in rounds),
        "service_texts_per_second": median(TEXTS / service["seconds"] for _, service in rounds),
        "throughput_ratio": median(library["seconds"] / service["seconds"] for library, service in rounds),
        "library_query_ms": median(1e3 * median(library["alone"]) for library, _ in rounds),
        "service_query_ms": median(1e3 * median(service["alone"]) for _, service in rounds),
        "latency_ratio": median(median(service["alone"]) / median(library["alone"]) for library, service in rounds),
        "query_beside_bulk_ms": median(1e3 * median(service["beside"]) for _, service in rounds),
        "cosine_mean": float(cosines.mean()),
        "cosine_least": float(cosines.min()),
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    r = result
    met = {
        "throughput": r["throughput_ratio"] >= GOALS["throughput"],
        "latency": r["latency_ratio"] <= GOALS["latency"],
        "cosine": r["cosine_mean"] >= GOALS["cosine"],
    }
    say = {key: "met" if value else "missed" for key, value in met.items()}
    rows = [
        ["", "sentence-transformers", "embedder through gRPC", "ratio", "goal", ""],
        ["---"] * 6,
        ["texts per second", f"{r['library_texts_per_second']:.1f}", f"{r['service_texts_per_second']:.1f}",
         f"{r['throughput_ratio']:.2f}", "≥ 1.7", say["throughput"]],
        ["one short query, ms", f"{r['library_query_ms']:.1f}", f"{r['service_query_ms']:.1f}",
         f"{r['latency_ratio']:.2f}", "≤ 0.6", say["latency"]],
        ["mean cosine to its vectors (least)", "1", f"{r['cosine_mean']:.5f} ({r['cosine_least']:.5f})", "", "≥ 0.999", say["cosine"]],
        [f"one short query while a call of {TEXTS} texts computes, ms", "", f"{r['query_beside_bulk_ms']:.0f}", "", "", ""],
    ]  # fmt: skip
    lines = [
        "# Embedder beside sentence-transformers",
        "",
        f"{r['model']} · {r['machine']} · {r['date']}.",
        f"{TEXTS} texts of 40–160 words, {CALLERS} concurrent callers of one text each; medians of {ROUNDS} alternating rounds.",
        "Made by `make bench-embed`.",
        "",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measures and writes the results; exit status 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / ".corella/models/all-MiniLM-L6-v2")
    parser.add_argument("--client", nargs=2, metavar=("ADDRESS", "INPUTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        address, inputs = arguments.client
        print(json.dumps(asyncio.run(client(address, *json.loads(Path(inputs).read_text())))))
        return 0
    result = measure(arguments.model)
    text = table(result)
    (ROOT / "bench/results/embed.md").write_text(text, encoding="utf-8")
    (ROOT / "bench/results/embed.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(text)
    return 0 if "missed" not in text else 1


if __name__ == "__main__":
    sys.exit(main())
