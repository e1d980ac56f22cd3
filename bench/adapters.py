"""What adapters cost: `python -m bench.adapters` (ten minutes, `make bench-adapters`); `--output` keeps it in `bench/results/adapters.md`.

Four engines, each with the settings the service gives it, in a process of its own: without LoRA; ready for adapters, as it is served; ready
for adapters with vLLM's own CPU code; and without LoRA on a checkpoint the adapter was merged into. They take turns, round by round, and
whoever has no turn is stopped, so that a machine that is slow for a while is slow for all and an idle engine takes nothing from another.
The adapter has random weights: what it writes means nothing, what it costs is the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / ".corella/models/SmolLM2-135M-Instruct"
RANK = 16
AT_ONCE = 16
TOKENS = 40
ROUNDS = 3
SLOTS = 4
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ENGINES = ("off", "ready", "stock", "merged")
# Name of a row, its engine, and whether the adapter writes. All write texts of the same length: in short ones the prompt weighs more.
WAYS = (
    ("LoRA off", "off", False),
    ("ready for adapters, none writes", "ready", False),
    ("an adapter writes", "ready", True),
    ("merged checkpoint, LoRA off", "merged", False),
    ("vLLM's own CPU code: ready, none writes", "stock", False),
    ("vLLM's own CPU code: an adapter writes", "stock", True),
)
_numbers = count(100_001)


def make_models(folder: Path) -> None:
    """An adapter as PEFT writes it, `folder/adapter`, and the checkpoint with it merged in, `folder/merged`."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.bfloat16, local_files_only=True)
    model: Any = get_peft_model(base, LoraConfig(r=RANK, lora_alpha=RANK, target_modules=MODULES, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.002)
    model.save_pretrained(folder / "adapter", safe_serialization=True)
    model.merge_and_unload().save_pretrained(folder / "merged", safe_serialization=True)
    for path in BASE.iterdir():
        if not (folder / "merged" / path.name).exists():
            shutil.copy(path, folder / "merged" / path.name)


# An engine's process ----------------------------------------------------------------------------------------------------------------


async def serve(kind: str, folder: Path) -> None:
    """Does as the lines of its standard input say; one line of JSON for each."""
    # Libraries and log lines go elsewhere: standard output is for answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    from services.generator import vllm_engine
    from services.generator.domain import BASE as ALONE
    from services.generator.domain import Adapter, GenerationOptions, Message
    from services.generator.settings import VllmSettings

    settings = VllmSettings(model_folder=folder / "merged" if kind == "merged" else BASE, kv_cache_gib=0.5, context_tokens=2048)
    if kind == "stock":
        ours = vllm_engine.engine_arguments

        def stock(*arguments: Any, **_: Any) -> dict[str, Any]:
            given = ours(*arguments)
            del given["lora_target_modules"]
            return given

        vllm_engine.engine_arguments = stock
    slots = SLOTS if kind in {"ready", "stock"} else 0
    engine = vllm_engine.VllmEngine.start(settings, AT_ONCE, sys.exit, slots)
    adapter = Adapter("adapters/bench/versions/1", "0")
    if slots:
        await engine.load_adapter(adapter, folder / "adapter")

    async def write(words: int, tokens: int, adapted: bool) -> tuple[float, int]:
        chat = [Message("user", f"{next(_numbers)} {' '.join(page[:words])}\n\nWrite a very long story about this.")]
        began, first, written = time.perf_counter(), 0.0, 0
        async for chunk in engine.generate(chat, GenerationOptions(max_tokens=tokens), adapter if adapted else ALONE):
            first = first or time.perf_counter() - began
            written = chunk.completion_tokens
        return first, written

    page = ((ROOT / "samples/pages/policies/warranty.md").read_text(encoding="utf-8") * 9).split()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        job = json.loads(line)
        began = time.perf_counter()
        done = await asyncio.gather(*(write(job["words"], job["tokens"], job["adapted"]) for _ in range(job["texts"])))
        seconds = time.perf_counter() - began
        print(json.dumps({"first": done[0][0], "rate": sum(written for _, written in done) / seconds}), file=answers, flush=True)
    await engine.close()


class Engine:
    """An engine in a process group of its own, stopped while it has no turn."""

    def __init__(self, kind: str, folder: Path) -> None:
        command = [sys.executable, "-m", "bench.adapters", "--engine", kind, "--folder", str(folder)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        if not self._output.readline():
            self.close()
            raise RuntimeError(f"the engine `{kind}` did not start")
        self._signal(signal.SIGSTOP)

    @property
    def _output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def turn(self, **job: Any) -> dict[str, float]:
        """Does one job while all others are stopped."""
        assert self.process.stdin is not None
        self._signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        self.process.stdin.flush()
        done: dict[str, float] = json.loads(self._output.readline())
        self._signal(signal.SIGSTOP)
        return done

    def close(self) -> None:
        """Ends it and its processes."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)


# The comparison ---------------------------------------------------------------------------------------------------------------------


def measure(folder: Path) -> dict[str, dict[str, list[float]]]:
    """For each way: seconds to the first token of a prompt of about 500, tokens per second alone, and sixteen at a time."""
    make_models(folder)
    engines: dict[str, Engine] = {}
    found: dict[str, dict[str, list[float]]] = {name: {"first": [], "alone": [], "at once": []} for name, *_ in WAYS}
    try:
        for kind in ENGINES:
            engines[kind] = Engine(kind, folder)
            print(f"  engine {kind} is ready", file=sys.stderr, flush=True)
        for number in range(ROUNDS + 1):
            for name, kind, adapted in WAYS:
                turn = engines[kind].turn
                first = turn(texts=1, words=330, tokens=1, adapted=adapted)["first"]
                alone = turn(texts=1, words=20, tokens=TOKENS, adapted=adapted)["rate"]
                at_once = turn(texts=AT_ONCE, words=20, tokens=TOKENS, adapted=adapted)["rate"]
                print(f"  {name}: first {first:.2f} s, alone {alone:.1f}, at once {at_once:.1f} tokens/s", file=sys.stderr, flush=True)
                if number:  # the first round warms everything up
                    for key, value in zip(found[name], (first, alone, at_once), strict=True):
                        found[name][key].append(value)
    finally:
        for engine in engines.values():
            engine.close()
    return found


def table(found: dict[str, dict[str, list[float]]], load: tuple[float, float]) -> str:
    """The results as Markdown. Ratios are medians over rounds, each beside `LoRA off` of the same round."""
    plain = found[WAYS[0][0]]

    def cell(values: list[float], beside: list[float]) -> str:
        ratio = statistics.median(value / other for value, other in zip(values, beside, strict=True))
        return f"{statistics.median(values):.2f} (×{ratio:.2f})"

    lines = [
        "# What adapters cost",
        "",
        f"{BASE.name}, bfloat16, eager, LoRA of rank {RANK} on all linear layers · {platform.machine()}, {os.cpu_count()} cores, load "
        f"{load[0]:.1f} before and {load[1]:.1f} at the end · {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"`python -m bench.adapters`: medians of {ROUNDS} rounds, all ways in each; in brackets the ratio to the first row. The "
        "merged checkpoint does the same work as the first row, so its distance from 1 is what chance and other work on the machine do.",
        "",
        f"| | first token of 500, s | alone, tokens/s | {AT_ONCE} at once, tokens/s |",
        "|---|---|---|---|",
    ]
    spread = ", ".join(f"{min(values):.2f} to {max(values):.2f}" for values in plain.values())
    lines += [f"| {name} | {' | '.join(cell(found[name][key], plain[key]) for key in plain)} |" for name, *_ in WAYS]
    lines += ["", f"The first row by itself, over the rounds: {spread}. Where it moves much, the machine had other work."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", nargs="?", type=Path, const=ROOT / "bench/results/adapters.md", help="file to keep the table in")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        asyncio.run(serve(options.engine, options.folder))
        return
    # The engines are in sessions of their own: whoever ends this process must have them ended too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="corella-bench-") as folder:
        found = measure(Path(folder))
    text = table(found, (before, os.getloadavg()[0]))
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    # vLLM's processes are started with `spawn` and run this file first.
    main()
