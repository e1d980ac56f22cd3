"""Runs the retriever: `python -m services.retriever`, configured by `CORELLA_RETRIEVER_…`."""

from __future__ import annotations

import asyncio
import sys

from services.chassis.server import serve
from services.retriever.app import add_servicers, build
from services.retriever.rules import RULES
from services.retriever.settings import RetrieverSettings


def main() -> int:
    """Serves until told to stop. Returns the exit status."""
    return asyncio.run(serve("retriever", RetrieverSettings(), build, add_servicers, "corella.v1.RetrieverService", rules=RULES))


if __name__ == "__main__":
    sys.exit(main())
