"""Names and shapes of tensors, from the headers of safetensors files; the tensors themselves are not read."""

from __future__ import annotations

import json
from pathlib import Path

MAX_HEADER_BYTES = 16 * 2**20
_LENGTH_BYTES = 8


def read_header(path: Path) -> tuple[bytes, int]:
    """The JSON in front of the tensors, and how many bytes follow it. The JSON is empty when it cannot be one. Blocking.

    https://huggingface.co/docs/safetensors/index#format: its length as 8 bytes, little endian, then itself, then the tensors.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        header = file.read(length) if length <= MAX_HEADER_BYTES else b""
    return header, path.stat().st_size - _LENGTH_BYTES - len(header)


def linear_shapes(folder: Path) -> dict[str, tuple[int, int]]:
    """The layers of a model with a weight of two dimensions, by name, with its shape (out, in). Blocking.

    Empty for a model whose files hold packed weights only (quantised): their shapes say nothing of the layers'.
    """
    shapes: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        header, _ = read_header(path)
        for name, entry in json.loads(header or b"{}").items():
            if name.endswith(".weight") and len(entry["shape"]) == 2:
                shapes[name.removesuffix(".weight")] = (int(entry["shape"][0]), int(entry["shape"][1]))
    return shapes
