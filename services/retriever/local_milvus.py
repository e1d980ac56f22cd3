"""Runs Milvus Lite as a server for one machine: `python -m services.retriever.local_milvus --data-dir DIR --port 15060`.

The engine and the protocol are Milvus Lite's own; this sets what its `milvus-lite server` command leaves at defaults that
do not suit several clients:

- One worker thread. Its collections take one writer at a time, and while it flushes, a second thread would see neither the rows
  nor the deletions that are on their way to disk: a deleted document could be found. With one thread calls queue instead; the
  engine is Python, so little runs in parallel anyway.
- Small segments are merged at once. It computes BM25's document frequencies within each segment, so a document added alone would
  score as if no word were rare.
- Rows leave the memory table early, because its BM25 index is rebuilt for every search (8,000 rows: 1.7 s; flushed: 0.03 s).
- SIGTERM closes the files in order.

A Milvus server needs none of this. Services talk to both in the same way.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from types import FrameType

MEMORY_TABLE_BYTES = 16 * 2**20
MERGE_BELOW_BYTES = 64 * 2**20
"""Segments smaller than this (about 25,000 chunks) become one at every flush."""


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
    from milvus_lite.engine import compaction

    compaction.COMPACTION_MIN_FILES_PER_BUCKET = 2
    compaction.COMPACTION_BUCKET_BOUNDARIES = [MERGE_BELOW_BYTES]

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    run_server(str(arguments.data_dir), host=arguments.host, port=arguments.port, max_workers=1)


if __name__ == "__main__":
    main()
