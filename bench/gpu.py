"""What one GPU does with a model of 7 billion parameters: `python -m bench.gpu` (some ten minutes and 15 GB of disk, `make bench-gpu`).

Time and memory do not depend on what a model has learnt, so it is made here, with random weights in the shape of Qwen2.5-7B, and the
tokenizer of the default model. Stages, each in a process of its own, so that each has the whole GPU:

straight, ray    the recipe, LoRA: in a process, and as a Ray worker
eager, compiled  the generator as deployed: texts one at a time and many at once, with and without an adapter; `vllm.eager` true and false

`make bench-embed` measures the embedder on a GPU as it does on a CPU. Writes `bench/results/gpu.md` and `.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from bench.ask import complete

ROOT = Path(__file__).resolve().parent.parent
SHAPES: dict[str, dict[str, Any]] = {
    # Qwen2.5-7B's (its config.json), but for the vocabulary, which is the tokenizer's.
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4},
    "tiny": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
}
CONTEXT = 8192
AT_ONCE = 16
RANK = 32
WRITTEN = 192
PROMPTS = (1024, 4096)
EXAMPLE_TOKENS = 512
STEP_TOKENS = 8192
STEPS = 6
STAGES = ("straight", "ray", "eager", "compiled")


def make_model(tokenizer: Path, folder: Path, shape: str, device: str) -> None:
    """A random model in safetensors form, with the tokenizer of another."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    loaded = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    config = LlamaConfig(
        vocab_size=-(-len(loaded) // 64) * 64,
        max_position_embeddings=2 * CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=loaded.bos_token_id,
        eos_token_id=loaded.eos_token_id,
        **SHAPES[shape],
    )
    torch.manual_seed(13)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / file).write_bytes((tokenizer / file).read_bytes())


def train(base: Path, output: Path, *, on_ray: bool) -> dict[str, Any]:
    """Tokens per second from the second step on, and memory of the GPU at the peak, in GiB."""
    import torch

    from services.trainer.domain import Method
    from services.trainer.plan import Plan, Settings
    from services.trainer.ray_cluster import train_on_ray
    from services.trainer.recipe import train as train_here
    from services.trainer.settings import RaySettings
    from services.trainer.token_samples import TokenSample, write_samples
    from services.trainer.world import World

    rng = random.Random(13)
    data = output / "data"
    data.mkdir(parents=True)
    for name, count in (("training", STEPS * STEP_TOKENS // EXAMPLE_TOKENS), ("validation", 2)):
        ids = [tuple(rng.randrange(100, 40_000) for _ in range(EXAMPLE_TOKENS)) for _ in range(count)]
        write_samples(data / f"{name}.safetensors", [TokenSample(each[:-64], each[-64:]) for each in ids])
    gpu = torch.cuda.is_available()
    settings = Settings(1e-4, 1.0, RANK, STEP_TOKENS, 13, 1, "constant", 0.0, 0.0, 2**31, gpu)
    plan = Plan(job_id="bench", method=Method.LORA, base_folder=str(base), data_url=str(data), output_url=str(output), settings=settings)
    started = time.perf_counter()
    if on_ray:
        outcome = train_on_ray(plan, RaySettings(local_cpus=2), lambda event: None, lambda: False)
    else:
        outcome = train_here(plan, World(device="cuda:0" if gpu else "cpu"))
    return {
        "seconds": time.perf_counter() - started,
        "tokens_per_second": statistics.median(step.tokens_per_second for step in outcome.steps[1:]),
        "losses": [step.training_loss for step in outcome.steps],
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if gpu and not on_ray else None,
    }


async def serve(base: Path, adapter: Path, *, eager: bool) -> dict[str, Any]:
    """The generator, through gRPC; the adapter is measured at its engine, because a shelf is not part of the question."""
    import grpc
    import torch

    from bench.ask import served
    from corella.v1.generator_pb2_grpc import GeneratorServiceStub
    from services.generator.domain import BASE, Adapter, GenerationOptions, Message
    from services.generator.settings import EngineSettings, VllmSettings

    vllm = VllmSettings(
        model_folder=base,
        context_tokens=CONTEXT,
        kv_cache_gib=None if torch.cuda.is_available() else 0.5,
        eager=eager,
        lora=True,
        max_lora_rank=RANK,
    )
    started = time.perf_counter()
    async with (
        served(vllm=vllm, engine=EngineSettings(max_sequences=AT_ONCE)) as (engine, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        result: dict[str, Any] = {"ready_seconds": time.perf_counter() - started, "rounds": []}
        stub = GeneratorServiceStub(channel)
        numbers = iter(range(100_001, 200_000))

        def text(tokens: int) -> str:
            """Begins with a number that no other has, so that the prefix cache has nothing of it."""
            return f"{next(numbers)}" + " warranty" * (tokens - 40)

        async def through_service(tokens: int) -> tuple[float, int]:
            return await complete(stub, text(tokens), WRITTEN)

        async def at_engine(tokens: int, which: Adapter) -> tuple[float, int]:
            begun, first, written = time.perf_counter(), 0.0, 0
            async for chunk in engine.generate([Message("user", text(tokens))], GenerationOptions(max_tokens=WRITTEN), which):
                first, written = first or time.perf_counter() - begun, chunk.completion_tokens
            return first, written

        tuned = Adapter("adapters/bench/versions/1", "bench")
        await engine.load_adapter(tuned, adapter)
        ways = {
            "gRPC, base": through_service,
            "engine, base": lambda tokens: at_engine(tokens, BASE),
            "engine, adapter": lambda tokens: at_engine(tokens, tuned),
        }
        for go in ways.values():
            await asyncio.gather(*(go(PROMPTS[0]) for _ in range(AT_ONCE)))
        for tokens in PROMPTS:
            for name, go in ways.items():
                for at_once in (1, AT_ONCE):
                    begun = time.perf_counter()
                    done = await asyncio.gather(*(go(tokens) for _ in range(1 if at_once == 1 else 2 * at_once)))
                    seconds = time.perf_counter() - begun
                    written = sum(count for _, count in done)
                    result["rounds"].append(
                        {"way": name, "prompt": tokens, "at_once": at_once, "texts": len(done), "seconds": seconds, "written": written,
                         "first": statistics.median(first for first, _ in done)}
                    )  # fmt: skip
                    print(f"  {name}, {tokens}, {at_once} at once: {seconds:.2f} s", file=sys.stderr, flush=True)
    return result


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    train_rows = [
        ["the recipe", "tokens per second", "GPU memory at the peak, GiB", "whole, s"],
        ["---"] * 4,
        *(
            [name, f"{run['tokens_per_second']:.0f}", f"{run['peak_gib']:.1f}" if run["peak_gib"] else "", f"{run['seconds']:.0f}"]
            for name, run in result["train"].items()
        ),
    ]
    serve_rows = [
        ["vLLM", "way", "prompt", "at once", "first token, s", "tokens per second", "texts per second"],
        ["---"] * 7,
        *(
            [mode, run["way"], str(run["prompt"]), str(run["at_once"]), f"{run['first']:.3f}", f"{run['written'] / run['seconds']:.0f}",
             f"{run['texts'] / run['seconds']:.2f}"]
            for mode, stage in result["serve"].items() for run in stage["rounds"]
        ),
    ]  # fmt: skip
    ready = ", ".join(f"{mode} {stage['ready_seconds']:.0f} s" for mode, stage in result["serve"].items())
    return "\n".join(
        [
            "# One GPU",
            "",
            f"{result['gpu']} · {result['versions']} · {result['date']}. Made by `make bench-gpu`.",
            f"{result['parameters'] / 1e9:.2f} billion random parameters in the shape of Qwen2.5-7B, bfloat16; "
            f"LoRA of rank {RANK} on every linear layer.",
            "",
            f"Training: examples of {EXAMPLE_TOKENS} tokens, {STEP_TOKENS} tokens a step.",
            "",
            *("| " + " | ".join(row) + " |" for row in train_rows),
            "",
            f"Writing: {WRITTEN} tokens a text, twice as many texts as at once; vLLM ready for adapters, ready after: {ready}.",
            "",
            *("| " + " | ".join(row) + " |" for row in serve_rows),
            "",
        ]
    )


def stage(arguments: argparse.Namespace) -> Any:
    """One stage, in this process."""
    base, output = arguments.folder / "base", arguments.folder
    if arguments.stage == "make":
        import torch

        make_model(arguments.tokenizer, base, arguments.shape, "cuda" if torch.cuda.is_available() else "cpu")
        return {
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
            "parameters": sum(file.stat().st_size for file in base.glob("*.safetensors")) / 2,
        }
    if arguments.stage in ("straight", "ray"):
        return train(base, output / arguments.stage, on_ray=arguments.stage == "ray")
    return asyncio.run(serve(base, output / "straight/result", eager=arguments.stage == "eager"))


def main() -> int:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, default=ROOT / ".corella/models/SmolLM2-135M-Instruct")
    parser.add_argument("--shape", choices=list(SHAPES), default="7B")
    parser.add_argument("--folder", type=Path, help="where the model is made and kept; default: a temporary one")
    parser.add_argument("--results", type=Path, default=ROOT / "bench/results")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--stage", choices=["make", *STAGES], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        print("\n" + json.dumps(stage(arguments)))
        return 0

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)

        def run(name: str) -> Any:
            print(f"{name} …", file=sys.stderr, flush=True)
            command = [sys.executable, "-m", "bench.gpu", "--stage", name, "--folder", str(folder), "--shape", arguments.shape]
            command += ["--tokenizer", str(arguments.tokenizer)]
            environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            return json.loads(done.stdout.strip().splitlines()[-1])

        result = run("make")
        if "no GPU" in result["gpu"] and arguments.shape != "tiny":
            raise SystemExit("There is no CUDA device here.")
        versions = {
            part: version(found[0]) for part, found in packages_distributions().items() if part in {"vllm", "torch", "transformers"}
        }
        result |= {
            "date": datetime.now(UTC).date().isoformat(),
            "versions": f"vLLM {versions['vllm']}, torch {versions['torch']}, transformers {versions['transformers']}",
            "train": {}, "serve": {},
        }  # fmt: skip
        for name in arguments.stages:
            kind = "train" if name in ("straight", "ray") else "serve"
            try:
                result[kind][name] = run(name)
            except subprocess.CalledProcessError as error:
                print(f"{name} failed with {error.returncode}", file=sys.stderr)
            # After each, so that a long stage that fails takes none with it.
            (arguments.results / "gpu.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    text = table(result)
    (arguments.results / "gpu.md").write_text(text, encoding="utf-8")
    print(text)
    return 0 if len(result["train"]) + len(result["serve"]) == len(arguments.stages) else 1


if __name__ == "__main__":
    sys.exit(main())
