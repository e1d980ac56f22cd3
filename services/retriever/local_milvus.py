"""Runs Milvus Lite as a server for one machine: `python -m services.retriever.local_milvus --data-dir DIR --port 15060`.

The engine and the protocol are Milvus Lite's own; this sets what its `milvus-lite server` command leaves at defaults that
do not suit several clients:

- One worker thread. Its collections take one writer at a time, and while it flushes, a second thread would see neither the rows
  nor the deletions that are on their way to disk: a deleted document could be found. With one thread calls queue instead; the
  engine is Python, so little runs in parallel anyway.
- Small segments are merged at once. It computes BM25's document frequencies within each segment, so a document added alone would
  score as if no word were rare.
- Rows leave the memory table early, because its BM25 index is rebuilt for every search (8,000 rows: 1.7 s; flushed: 0.03 s).
- A vector search under a filter that admits few chunks is exact. Its HNSW index would look at as many chunks as ever and drop those
  that are not admitted: of 20,000 chunks with 2 % admitted it found a third of the nearest, and half as many as it was asked for. A Milvus
  server turns to an exact search by itself.
- After a kill, rows that a flush had written are not replayed from the log as well. When it is killed between the two steps that end a
  flush, each of these rows would be counted and found twice until the next one.
- SIGTERM closes the files in order.

A Milvus server needs none of this. Services talk to both in the same way.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any

MEMORY_TABLE_BYTES = 16 * 2**20
MERGE_BELOW_BYTES = 64 * 2**20
"""Segments smaller than this (about 25,000 chunks) become one at every flush."""

EXACT_BELOW_SHARE = 0.7
"""Share of admitted chunks below which a segment is searched exactly. That many vectors are compared sooner than the engine has prepared
the search of the segment, and above it the index, told to look a little longer, finds what there is."""


def search_exactly_where_few_are_admitted(index_class: Any) -> None:
    """Gives Milvus Lite's HNSW index (`faiss_hnsw.FaissHnswIndex`) the second way of searching."""
    import numpy as np

    # What Python may call with was widened after the stubs were made from the C++ signatures.
    faiss: Any = importlib.import_module("faiss")

    by_graph = index_class.search

    def search(self: Any, queries: Any, top_k: int, valid_mask: Any = None, params: dict[str, Any] | None = None) -> Any:
        if valid_mask is None or not self.num_vectors or top_k <= 0:
            return by_graph(self, queries, top_k, valid_mask, params)
        share = np.count_nonzero(valid_mask) / self.num_vectors
        if share >= EXACT_BELOW_SHARE:
            longer = round((params or {}).get("ef", 64) / share)
            return by_graph(self, queries, top_k, valid_mask, {**(params or {}), "ef": longer})
        asked = np.atleast_2d(np.asarray(queries, dtype=np.float32))
        if self.metric == "COSINE":
            asked = asked / np.maximum(np.linalg.norm(asked, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        admitted = faiss.IDSelectorBitmap(np.packbits(valid_mask, bitorder="little"))
        vectors = faiss.downcast_index(self._index.storage)
        found, places = vectors.search(np.ascontiguousarray(asked), top_k, params=faiss.SearchParameters(sel=admitted))
        distances = np.full(places.shape, np.inf, dtype=np.float32)
        for at in np.argwhere(places >= 0):
            distances[tuple(at)] = self._normalize_distance(float(found[tuple(at)]))
        return places, distances

    index_class.search = search


def replay_only_what_was_not_flushed(collection: Any) -> None:
    """Gives Milvus Lite's collections (`engine.collection`) a recovery that passes over logs whose rows are in segments.

    A flush ends with a manifest that names the new segments and the log that goes on (`active_wal_number`), and then removes the logs
    before that one. The manifest makes it complete, so whatever lies before the log that it names is to be removed.
    """
    from milvus_lite.storage.wal import _cleanup_old_wals

    recover = collection.execute_recovery

    def execute_recovery(data_dir: str, schema: Any, manifest: Any) -> Any:
        if manifest.active_wal_number is not None:
            _cleanup_old_wals(os.path.join(data_dir, "wal"), manifest.active_wal_number - 1)
        return recover(data_dir=data_dir, schema=schema, manifest=manifest)

    collection.execute_recovery = execute_recovery


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Milvus Lite as a server for one machine.")
    parser.add_argument("--data-dir", type=Path, required=True, help="where the data lies; created if missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; there is no authentication")
    parser.add_argument("--port", type=int, default=15060, help="TCP port")
    arguments = parser.parse_args()
    arguments.data_dir.mkdir(parents=True, exist_ok=True)
    # Read once, when the engine is imported.
    os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", str(MEMORY_TABLE_BYTES))
    from milvus_lite.adapter.grpc.server import run_server
    from milvus_lite.engine import collection, compaction
    from milvus_lite.index import faiss_hnsw

    compaction.COMPACTION_MIN_FILES_PER_BUCKET = 2
    compaction.COMPACTION_BUCKET_BOUNDARIES = [MERGE_BELOW_BYTES]

    search_exactly_where_few_are_admitted(faiss_hnsw.FaissHnswIndex)
    replay_only_what_was_not_flushed(collection)

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    run_server(str(arguments.data_dir), host=arguments.host, port=arguments.port, max_workers=1)


if __name__ == "__main__":
    main()
