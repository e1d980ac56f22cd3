"""Examples as token ids: what training reads. One safetensors file a set, so nothing in it can be code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TokenSample:
    """One example. The loss counts `response_ids` only, which end with the token that ends the model's turn."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    weight: float = 1.0

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt_ids) + len(self.response_ids)


def write_samples(path: Path, samples: Sequence[TokenSample]) -> None:
    """Write `samples` in their order."""
    import numpy as np
    from safetensors.numpy import save_file

    ids = [token for sample in samples for token in (*sample.prompt_ids, *sample.response_ids)]
    save_file(
        {
            "ids": np.array(ids, dtype=np.int32),
            "prompt_lengths": np.array([len(sample.prompt_ids) for sample in samples], dtype=np.int32),
            "response_lengths": np.array([len(sample.response_ids) for sample in samples], dtype=np.int32),
            "weights": np.array([sample.weight for sample in samples], dtype=np.float32),
        },
        path,
    )


def read_samples(path: Path) -> list[TokenSample]:
    """The samples of a file, in their order."""
    from safetensors.numpy import load_file

    arrays = load_file(path)
    ids = arrays["ids"].tolist()
    samples: list[TokenSample] = []
    start = 0
    lengths = zip(arrays["prompt_lengths"].tolist(), arrays["response_lengths"].tolist(), arrays["weights"].tolist(), strict=True)
    for prompt_length, response_length, weight in lengths:
        middle, end = start + prompt_length, start + prompt_length + response_length
        samples.append(TokenSample(tuple(ids[start:middle]), tuple(ids[middle:end]), weight))
        start = end
    return samples
