"""A model small enough to train in a second, and examples it can learn: shared by the trainer's unit and contract tests."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from services.trainer.domain import Method
from services.trainer.plan import Plan, Settings
from services.trainer.token_samples import TokenSample, write_samples

VOCABULARY = 96
END = 2


def make_model(folder: Path, *, layers: int = 2, seed: int = 0) -> Path:
    """A random Llama of `layers` x 64, as a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=END,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("template")
    return folder


def make_samples(count: int, seed: int = 1) -> list[TokenSample]:
    """After a beginning that all share and some noise comes a token; the response repeats it, adds a fixed one, and ends."""
    rng = random.Random(seed)
    samples = []
    for _ in range(count):
        wanted = rng.randrange(60, 76)
        noise = tuple(rng.randrange(30, 60) for _ in range(rng.randrange(3, 30)))
        samples.append(TokenSample((*range(5, 25), *noise, wanted), (wanted, 80, END)))
    return samples


def make_plan(root: Path, output: str = "output", method: Method = Method.LORA, examples: int = 96, **changes: Any) -> Plan:
    """A plan below `root`, whose model and data are made when they are missing. `changes` are fields of the plan or of its settings."""
    base, data = root / "base", root / "data"
    if not base.is_dir():
        make_model(base)
    if not data.is_dir():
        data.mkdir()
        write_samples(data / "training.safetensors", make_samples(examples))
        write_samples(data / "validation.safetensors", make_samples(16, seed=2))
    settings = {
        "learning_rate": 1e-2, "epochs": 2.0, "lora_rank": 8, "batch_tokens": 512, "seed": 13, "worker_count": 1,
        "learning_rate_schedule": "linear", "warmup_share": 0.05, "weight_decay": 0.0, "checkpoint_steps": 3, "use_gpu": False,
    }  # fmt: skip
    settings |= {name: changes.pop(name) for name in list(changes) if name in settings}
    return Plan(
        job_id="tiny", method=method, base_folder=str(base), data_url=str(data), output_url=str(root / output),
        settings=Settings(**settings), **changes,
    )  # fmt: skip
