"""Vectors are those of sentence-transformers for other folders too: architecture, pooling, instructions, with small random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.embedder.domain import InputType
from services.embedder.model_folder import read_embedding_folder
from services.embedder.transformers_encoder import EmbeddingEncoder
from services.embedder.transformers_tokenizer import FastTokenizer

MODEL = Path(__file__).resolve().parents[2] / ".corella/models/all-MiniLM-L6-v2"
TEXTS = ["One.", "Two words", "A sentence of a few more words than that.", "and a longer one, " * 12, "too long for this model " * 60]
SHAPE = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 96}


def make_folder(folder: Path, architecture: str, pooling: str, normalize: bool) -> Path:
    """A sentence-transformers folder whose weights are random."""
    import torch
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(11)
    model = AutoModel.from_config(AutoConfig.for_model(architecture, vocab_size=30522, initializer_range=0.4, pad_token_id=0, **SHAPE))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(MODEL / name, folder / name)
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), *([("Normalize", "2_Normalize")] if normalize else [])]
    contents: dict[str, Any] = {
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (kind, path) in enumerate(modules)
        ],
        "sentence_bert_config.json": {"max_seq_length": 80, "do_lower_case": False},
        "1_Pooling/config.json": {"embedding_dimension": 32, "pooling_mode": pooling, "include_prompt": True},
        "config_sentence_transformers.json": {"prompts": {"query": "find this: ", "document": "in this: "}, "default_prompt_name": None},
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("architecture", "pooling", "normalize"),
    [("bert", "mean", True), ("bert", "cls", False), ("electra", "lasttoken", True), ("mpnet", "mean", False)],
)
def test_queries_and_documents_get_the_librarys_vectors(tmp_path: Path, architecture: str, pooling: str, normalize: bool) -> None:
    from sentence_transformers import SentenceTransformer

    path = make_folder(tmp_path, architecture, pooling, normalize)
    folder = read_embedding_folder(path)
    encoder = EmbeddingEncoder(folder, "cpu", "float32")
    tokenizer = FastTokenizer(folder.transformer, folder.max_tokens)
    library = SentenceTransformer(str(path), device="cpu")
    for kind, theirs in ((InputType.QUERY, library.encode_query(TEXTS)), (InputType.DOCUMENT, library.encode_document(TEXTS))):
        tokenized = tokenizer.tokenize(TEXTS, prompt=folder.prompts[kind])
        assert [text.truncated for text in tokenized] == [False, False, False, False, True]
        assert np.allclose(encoder.encode(tokenized), theirs, atol=2e-4)


def test_the_packed_forward_is_the_librarys_in_bfloat16_too(tmp_path: Path) -> None:
    folder = read_embedding_folder(MODEL)
    tokenizer = FastTokenizer(folder.transformer, folder.max_tokens)
    batch = sorted(tokenizer.tokenize(TEXTS), key=lambda text: len(text.ids))
    exact, fast = (EmbeddingEncoder(folder, "cpu", dtype).encode(batch) for dtype in ("float32", "bfloat16"))
    assert (exact * fast).sum(1).min() > 0.999
