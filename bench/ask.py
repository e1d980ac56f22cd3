"""The generator through gRPC beside bare vLLM, and whole answers over the samples: `python -m bench.ask` (six minutes, `make bench-ask`).

Engine: this process runs one `AsyncLLM` and, on top of it, the service just as `python -m services.generator` builds it. Bare requests go
to the engine directly; a client process sends the same ones to `Complete`. Bare and served requests alternate one by one (first token) or
round by round (16 at once), so that a machine that is slow for a while is slow for both. Every prompt begins with a number of its own, so
none profits from the prefix cache.

Answers: the real stack (`corella up`) in a folder of its own, with the pages and tickets of `samples/`, is asked the answerable sample
questions. Writes `bench/results/ask.md` and `.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import grpc

from corella.v1 import generator_pb2 as pb
from corella.v1.generator_pb2_grpc import GeneratorServiceStub, add_GeneratorServiceServicer_to_server

ROOT = Path(__file__).resolve().parent.parent
FIRST_TOKENS = 24
ROUNDS = 4
AT_ONCE = 16
TOKENS = 64
ANSWERS = 16
PORT_BASE = 53050
GOALS = {"first_token_ms": 10.0, "throughput": 0.97, "answer_seconds": 4.0}
QUIET = 0.2
_numbers = count(100_001)


def prompt(words: int) -> str:
    """A prompt of about so many words, with a number in front that no other has; all are equally long in tokens."""
    page = " ".join((ROOT / "samples/pages/policies/warranty.md").read_text(encoding="utf-8").split())
    return f"{next(_numbers)} {' '.join((page * 9).split()[:words])}\n\nWrite a very long story about this."


# The client process -----------------------------------------------------------------------------------------------------------------


async def client(address: str) -> None:
    """Does as the lines of its standard input say; one line of JSON for each."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = GeneratorServiceStub(channel)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            job = json.loads(line)
            started = time.perf_counter()
            done = await asyncio.gather(*(complete(stub, text, job["tokens"]) for text in job["prompts"]))
            seconds = time.perf_counter() - started
            print(json.dumps({"first": done[0][0], "seconds": seconds, "tokens": sum(tokens for _, tokens in done)}), flush=True)


async def complete(stub: GeneratorServiceStub, text: str, tokens: int) -> tuple[float, int]:
    """Seconds to the first piece of text, and how many tokens were written."""
    request = pb.CompleteRequest(
        messages=[pb.ChatMessage(role=pb.CHAT_ROLE_USER, text=text)], generation=pb.GenerationOptions(max_tokens=tokens)
    )
    started, first, written = time.perf_counter(), 0.0, 0
    async for response in stub.Complete(request):
        if response.HasField("delta"):
            first = first or time.perf_counter() - started
        else:
            written = response.completion.usage.completion_tokens
    return first, written


# The engine and the service ---------------------------------------------------------------------------------------------------------


async def bare(llm: Any, tokenizer: Any, text: str, tokens: int) -> tuple[float, int]:
    """As `complete`, straight to vLLM, with the prompt in token ids as its own servers hand it over."""
    from vllm import SamplingParams
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind

    from services.generator.domain import Message

    started, first, written = time.perf_counter(), 0.0, 0
    ids = tokenizer.render([Message("user", text)])
    params = SamplingParams(max_tokens=tokens, temperature=0.0, output_kind=RequestOutputKind.DELTA)
    async for output in llm.generate(tokens_input(ids), params, request_id=uuid.uuid4().hex):
        if output.outputs[0].text:
            first = first or time.perf_counter() - started
        written += len(output.outputs[0].token_ids)
    return first, written


@asynccontextmanager
async def served(**changes: Any) -> AsyncIterator[tuple[Any, str]]:
    """The service's engine and the address it is served at; as deployed, in this process. `changes` are groups of its settings."""
    from services.chassis.server import Lifecycle, make_server
    from services.chassis.settings import ServerSettings
    from services.generator.app import build
    from services.generator.rules import RULES
    from services.generator.settings import GeneratorSettings

    with tempfile.TemporaryDirectory() as folder:
        settings = GeneratorSettings(server=ServerSettings(port=0), state_folder=Path(folder), **changes)
        async with build(settings, Lifecycle()) as servicer:
            server, _, port = make_server(
                settings.server,
                lambda server: add_GeneratorServiceServicer_to_server(servicer, server),
                "corella.v1.GeneratorService",
                RULES,
            )
            await server.start()
            yield servicer.engine, f"127.0.0.1:{port}"
            await server.stop(1)


async def measure_engine() -> dict[str, Any]:
    """Time to the first token one at a time, and tokens per second sixteen at a time; bare and served in turns."""
    async with served() as (engine, address):
        llm, tokenizer = engine.llm, engine.tokenizer
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.ask", "--client", address, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert process.stdin is not None
        assert process.stdout is not None

        async def through_service(prompts: list[str], tokens: int) -> dict[str, Any]:
            process.stdin.write(json.dumps({"prompts": prompts, "tokens": tokens}).encode() + b"\n")  # type: ignore[union-attr]
            return json.loads(await process.stdout.readline())  # type: ignore[union-attr]

        async def straight(prompts: list[str], tokens: int) -> dict[str, Any]:
            started = time.perf_counter()
            done = await asyncio.gather(*(bare(llm, tokenizer, text, tokens) for text in prompts))
            return {"first": done[0][0], "seconds": time.perf_counter() - started, "tokens": sum(tokens for _, tokens in done)}

        first: dict[str, list[float]] = {"bare": [], "served": []}
        rates: dict[str, list[float]] = {"bare": [], "served": []}
        ways = {"bare": straight, "served": through_service}
        for way in ways.values():
            await way([prompt(200)], 4)
        for number in range(FIRST_TOKENS):
            for name in sorted(ways, reverse=bool(number % 2)):
                first[name].append((await ways[name]([prompt(200)], 1))["first"])
        for number in range(ROUNDS):
            for name in sorted(ways, reverse=bool(number % 2)):
                done = await ways[name]([prompt(30) for _ in range(AT_ONCE)], TOKENS)
                rates[name].append(done["tokens"] / done["seconds"])
                print(f"  {name}: {rates[name][-1]:.1f} tokens/s at {AT_ONCE}", file=sys.stderr, flush=True)
        process.stdin.close()
        await process.wait()
    added = statistics.median(after - before for before, after in zip(first["bare"], first["served"], strict=True))
    return {
        "bare_first_token_ms": statistics.median(first["bare"]) * 1000,
        "served_first_token_ms": statistics.median(first["served"]) * 1000,
        "added_first_token_ms": added * 1000,
        "bare_tokens_per_second": statistics.median(rates["bare"]),
        "served_tokens_per_second": statistics.median(rates["served"]),
        # Of each pair of rounds, which were beside one another in time.
        "throughput_ratio": statistics.median(after / before for before, after in zip(rates["bare"], rates["served"], strict=True)),
        # How much vLLM alone differs from itself within this run: beyond a fifth, the machine had other work and a ratio says little.
        "first_token_spread": spread(first["bare"]),
        "throughput_spread": spread(rates["bare"]),
    }


def spread(values: list[float]) -> float:
    """The middle half's width, as a share of the median."""
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / middle


# Whole answers ----------------------------------------------------------------------------------------------------------------------


def measure_answers() -> dict[str, Any]:
    """Seconds from the question to the complete answer, over the real stack."""
    with tempfile.TemporaryDirectory(prefix="corella-bench-") as folder:
        (Path(folder) / "models").symlink_to((ROOT / ".corella/models").resolve())
        environment = {**os.environ, "CORELLA_HOME": folder, "CORELLA_PORT_BASE": str(PORT_BASE)}

        def corella(*arguments: str) -> None:
            subprocess.run([sys.executable, "-m", "corella.cli.main", *arguments], cwd=ROOT, env=environment, check=True, stdout=sys.stderr)

        try:
            corella("up", "--detach")
            corella("ingest", "samples/pages", "samples/tickets")
            with grpc.insecure_channel(f"127.0.0.1:{PORT_BASE + 3}") as channel:
                return ask_all(GeneratorServiceStub(channel))
        finally:
            corella("down")


def ask_all(stub: GeneratorServiceStub) -> dict[str, Any]:
    """Asks sample questions until enough have reached the model; those refused before it are quick and not counted."""
    lines = (ROOT / "samples/questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [each["question"] for each in map(json.loads, lines) if each["answerable"] and not each["history"]]
    usages: list[pb.Usage] = []
    passages: list[int] = []
    for number, question in enumerate(questions):
        request = pb.AskRequest(question=question, corpus="corpora/default", skip_memory=True)
        events = {response.WhichOneof("event"): response for response in stub.Ask(request, timeout=60)}
        completion = events["completion"].completion
        if number == 0 or completion.finish_reason == pb.FINISH_REASON_REFUSED:
            continue  # the first one also warms everything up
        usages.append(completion.usage)
        passages.append(len(events["passages"].passages.passages))
        if len(usages) == ANSWERS:
            break

    def median(field: str) -> float:
        return statistics.median(getattr(usage, field).ToTimedelta().total_seconds() for usage in usages)

    return {
        "answers": len(usages),
        "passages": statistics.median(passages),
        "prompt_tokens": statistics.median(usage.prompt_tokens for usage in usages),
        "cached_prompt_tokens": statistics.median(usage.cached_prompt_tokens for usage in usages),
        "completion_tokens": statistics.median(usage.completion_tokens for usage in usages),
        "retrieval_seconds": median("retrieval_duration"),
        "first_token_seconds": median("time_to_first_token"),
        "generation_seconds": median("generation_duration"),
        "total_seconds": median("total_duration"),
        "slowest_seconds": max(usage.total_duration.ToTimedelta().total_seconds() for usage in usages),
    }


# The table --------------------------------------------------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""

    def met(holds: bool, noise: float = 0.0) -> str:
        return "not conclusive: machine not quiet" if noise > QUIET else "met" if holds else "missed"

    lines = [
        "# Generator beside bare vLLM, and whole answers",
        "",
        f"{result['model']} · {platform.machine()}, {os.cpu_count()} cores, load {result['load_before']:.1f} before and "
        f"{result['load_after']:.1f} at the end · {datetime.now(UTC):%Y-%m-%d}",
        "Made by `python -m bench.ask`.",
    ]
    if engine := result.get("engine"):
        added, ratio = engine["added_first_token_ms"], engine["throughput_ratio"]
        lines += [
            "",
            f"One engine; bare and served requests in turns: {FIRST_TOKENS} pairs alone, {ROUNDS} pairs of rounds of {AT_ONCE} at once, "
            f"{TOKENS} tokens each.",
            "",
            "| | vLLM | generator through gRPC | difference | goal | |",
            "|---|---|---|---|---|---|",
            f"| first token alone, ms | {engine['bare_first_token_ms']:.0f} | {engine['served_first_token_ms']:.0f} | "
            f"{added:+.1f} ms | ≤ 10 ms | {met(added <= GOALS['first_token_ms'], engine['first_token_spread'])} |",
            f"| tokens per second, {AT_ONCE} at once | {engine['bare_tokens_per_second']:.1f} | {engine['served_tokens_per_second']:.1f} | "
            f"× {ratio:.3f} | ≥ 0.97 | {met(ratio >= GOALS['throughput'], engine['throughput_spread'])} |",
        ]
    if answers := result.get("answers"):
        seconds = answers["total_seconds"]
        lines += [
            "",
            f"Answers over `samples/`: medians of {answers['answers']} that the model wrote, with {answers['passages']:.0f} passages.",
            "",
            "| whole answer, s | retrieval | first token | writing | prompt tokens (cached) | answer tokens | goal | |",
            "|---|---|---|---|---|---|---|---|",
            f"| {seconds:.2f} (slowest {answers['slowest_seconds']:.2f}) | {answers['retrieval_seconds']:.2f} | "
            f"{answers['first_token_seconds']:.2f} | {answers['generation_seconds'] - answers['first_token_seconds']:.2f} | "
            f"{answers['prompt_tokens']:.0f} ({answers['cached_prompt_tokens']:.0f}) | {answers['completion_tokens']:.0f} | ≤ 4 s | "
            f"{met(seconds <= GOALS['answer_seconds'])} |",
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measures, prints, keeps. Returns 0 when every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("--client", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["engine", "answers"], help="Measure one half; the other is taken from the last results.")
    arguments = parser.parse_args()
    if arguments.client:
        asyncio.run(client(arguments.client))
        return 0
    # Ending from outside must also end the stack this starts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    path = ROOT / "bench/results/ask.json"
    result: dict[str, Any] = json.loads(path.read_text()) if arguments.only and path.exists() else {}
    result |= {"model": "SmolLM2-135M-Instruct (bfloat16, eager)", "load_before": os.getloadavg()[0]}
    if arguments.only != "answers":
        result["engine"] = asyncio.run(measure_engine())
    if arguments.only != "engine":
        result["answers"] = measure_answers()
    result["load_after"] = os.getloadavg()[0]
    text = table(result)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    return 0 if not {"missed", "conclusive"} & set(re.findall(r"\w+", text)) else 1


if __name__ == "__main__":
    sys.exit(main())
