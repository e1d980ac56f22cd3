"""Processes that contract tests share. Each service's are in a file of their own."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generator_process import generator, generator_stub
from retriever_stack import (
    embedder_address,
    milvus_uri,
    retriever_address,
    retriever_stack,
    toy_embedder,
    toy_stack,
    valkey_url,
)
from trainer_process import trainer_valkey

__all__ = [
    "embedder_address",
    "generator",
    "generator_stub",
    "milvus_uri",
    "retriever_address",
    "retriever_stack",
    "toy_embedder",
    "toy_stack",
    "trainer_valkey",
    "valkey_url",
]
