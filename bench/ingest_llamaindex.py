"""One ingestion with LlamaIndex, run by `bench/ingest.py` with the Python of its own environment.

`ingest_llamaindex.py MODEL FOLDER OPTIONS` reads JSON lines {uri, text} from standard input and prints one line of JSON: seconds, chunks,
rows in the store. Imports, loading the model and a first small run are over before the clock starts.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from llama_index.core import Document
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.milvus import MilvusVectorStore

CHUNK_TOKENS, OVERLAP_TOKENS = 200, 20


def pipeline(embedding: Any, store: Any) -> IngestionPipeline:
    """Split, embed, store."""
    return IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=CHUNK_TOKENS, chunk_overlap=OVERLAP_TOKENS), embedding], vector_store=store
    )


def main() -> None:
    """Measures."""
    model, folder, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    settings: dict[str, Any] = {"embed_batch_size": options["batch"]} if "batch" in options else {}
    if options.get("bfloat16"):
        settings["model_kwargs"] = {"dtype": "bfloat16"}
    embedding = HuggingFaceEmbedding(model_name=model, device="cpu", **settings)
    documents = [Document(text=entry["text"], metadata={"uri": entry["uri"]}) for entry in map(json.loads, sys.stdin)]
    # The engine is loaded by the first store that is opened, so that one is for practice.
    dimensions = len(embedding.get_text_embedding("warm"))
    practice = MilvusVectorStore(uri=str(folder / "practice.db"), dim=dimensions, overwrite=True)
    pipeline(embedding, practice).run(documents=[Document(text=document.text) for document in documents[:2]])
    started = time.perf_counter()
    store = MilvusVectorStore(uri=str(folder / "store.db"), dim=dimensions, overwrite=True)
    nodes = pipeline(embedding, store).run(documents=documents)
    seconds = time.perf_counter() - started
    rows = store.client.get_collection_stats(store.collection_name)["row_count"]
    print(json.dumps({"seconds": seconds, "chunks": len(nodes), "rows": rows}))


if __name__ == "__main__":
    main()
