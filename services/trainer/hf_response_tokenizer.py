"""The tokens of what a model is to write, with the tokenizer of its Hugging Face folder."""

from __future__ import annotations

from pathlib import Path


class HfResponseTokenizer:
    """Reads the tokenizer when it is made, which takes seconds: make it in a thread. Raises `ValueError` for a folder that has none."""

    def __init__(self, folder: Path) -> None:
        # Imported here: it takes seconds.
        from transformers import AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} holds no tokenizer") from error
        if self._tokenizer.eos_token_id is None:
            raise ValueError(f"the tokenizer of {folder} has no token that ends a turn")
        self._end = int(self._tokenizer.eos_token_id)

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids of a text taken literally, nothing in it becoming a control token, and of the token that ends the model's turn."""
        ids = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return (*(int(token) for token in ids), self._end)
