"""Tokenising with the model's own tokenizer, through Hugging Face's fast tokenizers: in Rust, on all cores, without the GIL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from services.embedder.domain import ModelRefused, TokenizedText


class FastTokenizer:
    """Tokenises for one model. `lower_case` is for models that say so in sentence_bert_config.json."""

    def __init__(self, folder: Path, max_tokens: int, *, lower_case: bool = False) -> None:
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if not isinstance(loaded, PreTrainedTokenizerFast):
            raise ModelRefused(f"{folder} has no fast tokenizer (tokenizer.json)")
        self.max_tokens = max_tokens
        self._lower_case = lower_case
        # Two, because cutting is a setting of a tokenizer: one sees the whole text, the other is asked for texts that are too long only.
        self._whole: Tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
        self._whole.no_padding()
        self._whole.no_truncation()
        self._cutting: Tokenizer = Tokenizer.from_str(self._whole.to_str())
        self._cutting.enable_truncation(max_tokens)
        self._cutting_second: Tokenizer = Tokenizer.from_str(self._whole.to_str())
        self._cutting_second.enable_truncation(max_tokens, strategy="only_second")

    def tokenize(self, texts: Sequence[str], *, prompt: str = "") -> list[TokenizedText]:
        """Each text after the prompt, cut to `max_tokens` where it is longer."""
        inputs = [self._cased(prompt + text) for text in texts]
        encodings = self._whole.encode_batch(inputs)
        return [
            _tokenized(self._cutting.encode(text) if len(whole.ids) > self.max_tokens else whole, whole)
            for text, whole in zip(inputs, encodings, strict=True)
        ]

    def tokenize_pairs(self, query: str, texts: Sequence[str]) -> list[TokenizedText]:
        """The query with each text, with segment ids; where the two are too long together, the text is cut.

        The query itself is never cut: it must have been counted, and leave room for a text.
        """
        pairs = [(self._cased(query), self._cased(text)) for text in texts]
        encodings = self._whole.encode_batch(pairs)
        return [
            _tokenized(self._cutting_second.encode(*pair) if len(whole.ids) > self.max_tokens else whole, whole, pair=True)
            for pair, whole in zip(pairs, encodings, strict=True)
        ]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not included."""
        encodings = self._whole.encode_batch([self._cased(text) for text in texts], add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    def _cased(self, text: str) -> str:
        return text.lower() if self._lower_case else text


def _tokenized(used: Encoding, whole: Encoding, *, pair: bool = False) -> TokenizedText:
    return TokenizedText(used.ids, used.type_ids if pair else None, len(whole.ids))
