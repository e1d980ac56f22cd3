"""Examples to measure training with: the sample questions as the generator would ask them, as token ids; always the same."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from bench.material import load_sample_passages, load_sample_queries
from services.generator.domain import DONT_KNOW, Passage, Style
from services.generator.prompting import compose
from services.trainer.token_samples import TokenSample, read_samples, write_samples

ROOT = Path(__file__).resolve().parent.parent
DISTRACTORS = 2
BUDGET_TOKENS = 700


def make(base: Path, folder: Path, data: Path | None, limit: int) -> tuple[list[TokenSample], list[TokenSample]]:
    """Writes `training.safetensors` and `validation.safetensors` to `folder` and returns both: from the samples, or from `data`, a folder
    with these two files. At most `limit` training examples."""
    if data is not None:
        training, validation = (read_samples(data / f"{name}.safetensors") for name in ("training", "validation"))
    else:
        everything = _of_samples(base)
        training = [sample for number, sample in enumerate(everything) if number % 4]
        validation = [sample for number, sample in enumerate(everything) if not number % 4]
    training = training[:limit]
    folder.mkdir(parents=True, exist_ok=True)
    write_samples(folder / "training.safetensors", training)
    write_samples(folder / "validation.safetensors", validation)
    return training, validation


def _of_samples(base: Path) -> list[TokenSample]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    passages = load_sample_passages(ROOT / "samples")
    by_name = {passage.name: passage for passage in passages}
    rng = random.Random(13)
    made = []
    for query in load_sample_queries(ROOT / "samples"):
        gold = [by_name[name] for name in sorted(query.gold) if name in by_name][:1]
        if query.metadata["history"] or (query.metadata["answerable"] and not gold):
            continue
        shown: list[Passage] = [*gold, *rng.sample(passages, DISTRACTORS)]
        rng.shuffle(shown)
        answer = f"{query.metadata['answer'].rstrip('.')} [{shown.index(gold[0]) + 1}]." if query.metadata["answerable"] else DONT_KNOW
        prompt = compose(
            query.text,
            shown,
            summary="",
            style=Style(),
            deployment_instruction="",
            budget_tokens=BUDGET_TOKENS,
            count_tokens=lambda text: len(tokenizer.encode(text)),
        )
        messages = [{"role": message.role, "content": message.text} for message in prompt.messages]
        ids: Any = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        response = tokenizer.encode(answer, add_special_tokens=False) + tokenizer.encode("<|im_end|>", add_special_tokens=False)
        made.append(TokenSample(tuple(ids), tuple(response)))
    rng.shuffle(made)
    return made


def describe(samples: list[TokenSample]) -> str:
    """Their number and size, for a heading."""
    tokens = sum(sample.length for sample in samples)
    responses = sum(len(sample.response_ids) for sample in samples)
    return (
        f"{len(samples)} examples with {tokens / len(samples):.0f} tokens on average, of which {responses / len(samples):.0f} are response"
    )


if __name__ == "__main__":
    print(json.dumps([len(sample.prompt_ids) for sample in _of_samples(ROOT / ".corella/models/SmolLM2-135M-Instruct")]))
