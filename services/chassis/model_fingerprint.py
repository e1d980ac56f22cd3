"""Which model a folder holds, as far as an adapter cares: its configuration and its tokenizer.

An adapter fits the model it was trained on. Weights are left out: they are large, and a model that was merely converted or quantised
from the same one keeps its configuration and tokenizer.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def base_fingerprint(folder: Path) -> str:
    """SHA-256, in hexadecimal, over names and contents of those of `FILES` that are in `folder`. Blocking.

    Each file counts as its name, a line feed, its length in bytes, a line feed, and its content. Raises `FileNotFoundError` when there
    is no `config.json`.
    """
    digest = hashlib.sha256()
    for name in FILES:
        path = folder / name
        if not path.is_file() and name != FILES[0]:
            continue
        content = path.read_bytes()
        digest.update(f"{name}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
