"""One training of the comparison, in a process of its own: `python -m bench.train_one WHO BASE DATA OUTPUT SETTINGS`. Prints JSON.

trl         TRL's SFTTrainer with its own defaults
trl-tuned   the same with bfloat16 weights and without gradient checkpointing, the quickest it was found to be on a CPU
corella     the recipe
losses      of the base model and of adapters on the validation examples, by transformers and PEFT, for SETTINGS' `adapters`
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from services.trainer.token_samples import read_samples


def run_trl(base: str, data: Path, output: str, settings: dict[str, Any], *, tuned: bool) -> dict[str, Any]:
    """TRL on pre-tokenised examples, loss on the responses only."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    samples = read_samples(data / "training.safetensors")
    rows = {
        "input_ids": [[*sample.prompt_ids, *sample.response_ids] for sample in samples],
        "completion_mask": [[0] * len(sample.prompt_ids) + [1] * len(sample.response_ids) for sample in samples],
    }
    special: dict[str, Any] = {"gradient_checkpointing": False, "bf16": False, "model_init_kwargs": {"dtype": "bfloat16"}} if tuned else {}
    config = SFTConfig(
        output_dir=output,
        per_device_train_batch_size=settings["batch_examples"],
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=settings["warmup_steps"],
        weight_decay=0.0,
        max_length=None,
        completion_only_loss=True,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=settings["seed"],
        **special,
    )
    lora = LoraConfig(
        r=settings["rank"], lora_alpha=2 * settings["rank"], lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    clock = Clock()

    class Watch(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.start()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                clock.losses.append(float(logs["loss"]))

        def on_train_end(self, *_: Any, **__: Any) -> None:
            clock.stop()

    trainer = SFTTrainer(
        model=base,
        args=config,
        train_dataset=Dataset.from_dict(rows),
        processing_class=AutoTokenizer.from_pretrained(base, local_files_only=True),
        peft_config=lora,
        callbacks=[Watch()],
    )
    trainer.train()
    trainer.save_model(f"{output}/result")
    return clock.told()


def run_corella(base: str, data: Path, output: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The recipe, alone. Two validation examples, so that what is timed is training; both trainers are validated afterwards, by another."""
    from services.trainer import recipe
    from services.trainer.domain import Method
    from services.trainer.plan import Plan, Settings
    from services.trainer.token_samples import write_samples
    from services.trainer.training_events import Stepped, TrainingEvent
    from services.trainer.world import World

    samples = read_samples(data / "training.safetensors")
    short = Path(output) / "data"
    short.mkdir(parents=True)
    write_samples(short / "training.safetensors", samples)
    write_samples(short / "validation.safetensors", read_samples(data / "validation.safetensors")[:2])
    steps = -(-len(samples) // settings["batch_examples"])
    total = round(steps * settings["epochs"])
    plan = Plan(
        job_id="bench", method=Method.LORA, base_folder=base, data_url=str(short), output_url=output,
        settings=Settings(
            learning_rate=settings["learning_rate"], epochs=settings["epochs"], lora_rank=settings["rank"],
            batch_tokens=sum(sample.length for sample in samples) // steps, seed=settings["seed"], worker_count=1,
            learning_rate_schedule="linear", warmup_share=settings["warmup_steps"] / total, weight_decay=0.0, checkpoint_steps=2**31,
            use_gpu=False,
        ),
    )  # fmt: skip
    clock = Clock()

    def hear(event: TrainingEvent) -> None:
        if isinstance(event, Stepped):
            clock.losses.append(event.step.training_loss)
            if event.step.step == event.total_steps:
                clock.stop()

    evaluate = recipe.evaluate

    def and_start(built: Any, samples: Any, world: World) -> float:
        loss = evaluate(built, samples, world)
        if not clock.losses:
            clock.start()
        return loss

    # The clock starts after the first validation, which is where TRL's starts: model loaded, nothing learnt.
    recipe.evaluate = and_start
    recipe.train(plan, World(), hear)
    return clock.told()


def unseen_losses(base: str, data: Path, adapters: dict[str, str]) -> dict[str, float]:
    """Mean loss over the tokens of the responses: float32, one example at a time, the plain way."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    samples = read_samples(data / "validation.safetensors")
    losses = {}
    for name, folder in adapters.items():
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
        if folder:
            model = PeftModel.from_pretrained(model, folder)
        total, count = 0.0, 0
        for sample in samples:
            ids = torch.tensor([[*sample.prompt_ids, *sample.response_ids]])
            with torch.no_grad():
                logits = model(input_ids=ids, logits_to_keep=len(sample.response_ids) + 1).logits[0, :-1]
            total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(sample.response_ids), reduction="sum"))
            count += len(sample.response_ids)
        losses[name] = total / count
    return losses


class Clock:
    """Seconds on the wall and of processors, of the steps alone."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self._began = self._ended = (0.0, 0.0)

    def start(self) -> None:
        """The first step begins."""
        self._began = (time.perf_counter(), time.process_time())

    def stop(self) -> None:
        """The last step has ended."""
        self._ended = (time.perf_counter(), time.process_time())

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "seconds": self._ended[0] - self._began[0],
            "cpu_seconds": self._ended[1] - self._began[1],
            "losses": self.losses,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }


def main() -> None:
    """Runs one and prints what it took."""
    who, base, data, output, settings = sys.argv[1:]
    given = json.loads(settings)
    result: dict[str, Any]
    if who == "losses":
        result = unseen_losses(base, Path(data), given["adapters"])
    elif who == "corella":
        result = run_corella(base, Path(data), output, given)
    else:
        result = run_trl(base, Path(data), output, given, tuned=who == "trl-tuned")
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main()
