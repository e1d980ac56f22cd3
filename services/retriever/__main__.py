"""Runs the retriever: `python -m services.retriever`, configured by `CORELLA_RETRIEVER_…`."""

from __future__ import annotations

import asyncio
import sys

from corella.v1.retriever_pb2_grpc import add_RetrieverServiceServicer_to_server
from services.chassis.server import serve
from services.retriever.app import build
from services.retriever.settings import RetrieverSettings


def main() -> int:
    """Serves until told to stop. Returns the exit status."""
    return asyncio.run(
        serve("retriever", RetrieverSettings(), build, add_RetrieverServiceServicer_to_server, "corella.v1.RetrieverService")
    )


if __name__ == "__main__":
    sys.exit(main())
