"""The training recipe beside TRL's SFTTrainer: `python -m bench.train` (15 minutes on two cores, `make bench-train`).

Both train the same LoRA (rank, layers, alpha, learning rate, warm-up, examples in a step, passes, seed) on the same token ids with the
loss on the responses only, one after the other, each in a process of its own with all cores. Tokens are those of the examples; padding
does not count. The losses on unseen examples are measured afterwards by a third: transformers with PEFT, float32, one example at a
time. Then the recipe on Ray with one worker of one thread, two of one thread, and one of two.

Writes `bench/results/train.md`, `.json` and `.png`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.train_examples import describe, make
from services.trainer.token_samples import TokenSample

ROOT = Path(__file__).resolve().parent.parent
WHO = {"trl": "TRL, its defaults", "trl-tuned": "TRL, bfloat16, no checkpointing", "corella": "the recipe"}
GOAL = 2.0


def run(who: str, base: Path, data: Path, output: Path, settings: dict[str, Any]) -> Any:
    """One training, or measuring the losses of several adapters, in a process of its own."""
    print(f"{WHO.get(who, who)} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "bench.train_one", who, str(base), str(data), str(output), json.dumps(settings)]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def on_ray(base: Path, folder: Path, samples: list[TokenSample], workers: int, cpus: int) -> float:
    """Tokens per second of the recipe on Ray, from the second step on."""
    from services.trainer.domain import Method
    from services.trainer.plan import Plan, Settings
    from services.trainer.ray_cluster import train_on_ray
    from services.trainer.settings import RaySettings

    print(f"{workers} worker(s), {cpus // workers} thread(s) each …", file=sys.stderr, flush=True)
    plan = Plan(
        job_id="bench", method=Method.LORA, base_folder=str(base), data_url=str(folder / "data"),
        output_url=str(folder / f"{workers}-{cpus}"),
        settings=Settings(1e-4, 1.0, 16, sum(sample.length for sample in samples) // 4, 13, workers, "constant", 0.0, 0.0, 2**31, False),
    )  # fmt: skip
    outcome = train_on_ray(plan, RaySettings(local_cpus=cpus), lambda event: None, lambda: False)
    # The first step pays for what is done once.
    speeds = sorted(step.tokens_per_second for step in outcome.steps[1:])
    return speeds[len(speeds) // 2]


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    runs, losses, tokens = result["runs"], result["unseen_losses"], result["tokens"]
    rows = [["", *(WHO[who] for who in runs)], ["---"] * (len(runs) + 1)]
    rows.append(["tokens per second", *(f"{tokens / run['seconds']:.0f}" for run in runs.values())])
    rows.append(["tokens per CPU-second", *(f"{tokens / run['cpu_seconds']:.0f}" for run in runs.values())])
    rows.append(["loss on unseen examples", *(f"{losses[who]:.4f}" for who in runs)])
    rows.append(["peak memory, GiB", *(f"{run['peak_gib']:.1f}" for run in runs.values())])
    scaling = result["scaling"]
    lines = [
        "# Training beside TRL's SFTTrainer",
        "",
        f"{result['model']} · {result['machine']} · {result['date']} · {result['versions']}.",
        f"{result['examples']}; {result['described']}. Made by `make bench-train`.",
        "",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        f"The base model's loss on the unseen examples: {losses['base']:.4f}.",
        "",
        f"Goal: at least {GOAL:g} times the tokens per second of TRL, at an equal or better loss: {result['ratio']:.2f} times by the "
        f"clock, {result['cpu_ratio']:.2f} times by CPU-seconds; {'met' if result['met'] else 'missed'}.",
        "",
        "![Loss of the steps](train.png)",
    ]
    if scaling:
        lines += [
            "",
            "| on Ray | tokens per second |",
            "| --- | --- |",
            f"| 1 worker, 1 thread | {scaling['1x1']:.0f} |",
            f"| 2 workers, 1 thread each | {scaling['2x1']:.0f} |",
            f"| 1 worker, 2 threads | {scaling['1x2']:.0f} |",
            "",
            f"Two workers do {scaling['2x1'] / scaling['1x1'] / 2:.0%} of twice what one does on one core "
            f"(load {scaling['load']:.1f} before).",
        ]
    return "\n".join([*lines, ""])


def picture(result: dict[str, Any], path: Path) -> None:
    """Losses of the steps over the tokens learnt from."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for who, run in result["runs"].items():
        axes.plot(range(1, len(run["losses"]) + 1), run["losses"], label=WHO[who], marker=".")
    axes.set_xlabel("step")
    axes.set_ylabel("loss on the responses, nats per token")
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All runs."""
    from importlib.metadata import version

    load = os.getloadavg()[0]
    base = arguments.model.absolute()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        training, _ = make(base, folder / "data", arguments.data, arguments.examples)
        steps = round(-(-len(training) // 8) * arguments.epochs)
        settings = {
            "batch_examples": 8, "epochs": arguments.epochs, "learning_rate": arguments.learning_rate, "rank": 16, "seed": 13,
            "warmup_steps": max(1, round(0.1 * steps)),
        }  # fmt: skip
        runs = {who: run(who, base, folder / "data", folder / who, settings) for who in arguments.who}
        losses = run("losses", base, folder / "data", folder, {"adapters": {"base": "", **{who: f"{folder / who}/result" for who in runs}}})
        scaling = {}
        if not arguments.no_scaling:
            make(base, folder / "data", arguments.data, 32)
            few = training[:32]
            load_before = os.getloadavg()[0]
            scaling = {name: on_ray(base, folder, few, *sizes) for name, sizes in (("1x1", (1, 1)), ("2x1", (2, 2)), ("1x2", (1, 2)))}
            scaling["load"] = load_before
    ratio = runs["trl"]["seconds"] / runs["corella"]["seconds"]
    return {
        "model": base.name,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": ", ".join(f"{name} {version(name)}" for name in ("trl", "peft", "transformers", "torch")),
        "examples": describe(training),
        "described": f"LoRA of rank 16, 8 examples a step, {steps} steps, learning rate {arguments.learning_rate:g}",
        "tokens": round(sum(sample.length for sample in training) * arguments.epochs),
        "runs": runs,
        "unseen_losses": losses,
        "scaling": scaling,
        "ratio": ratio,
        "cpu_ratio": runs["trl"]["cpu_seconds"] / runs["corella"]["cpu_seconds"],
        "met": ratio >= GOAL and losses["corella"] <= min(losses[who] for who in runs) + 0.005,
    }


def main() -> int:
    """Measures and writes the results; exit status 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / ".corella/models/SmolLM2-135M-Instruct")
    parser.add_argument("--data", type=Path, help="folder with training.safetensors and validation.safetensors")
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--who", nargs="+", choices=list(WHO), default=list(WHO))
    parser.add_argument("--no-scaling", action="store_true")
    result = measure(parser.parse_args())
    text = table(result)
    (ROOT / "bench/results/train.md").write_text(text, encoding="utf-8")
    (ROOT / "bench/results/train.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    picture(result, ROOT / "bench/results/train.png")
    print(text)
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
