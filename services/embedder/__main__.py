"""Runs the embedder: `python -m services.embedder`, configured by `CORELLA_EMBEDDER_…` (see settings.py)."""

from __future__ import annotations

import asyncio
import sys

from corella.v1.embedder_pb2 import DESCRIPTOR
from corella.v1.embedder_pb2_grpc import add_EmbedderServiceServicer_to_server
from services.chassis.server import serve
from services.chassis.telemetry import get_logger
from services.embedder.app import build
from services.embedder.domain import ModelRefused
from services.embedder.rules import RULES
from services.embedder.settings import EmbedderSettings


def main() -> int:
    """Serves until SIGTERM. Returns the exit status."""
    full_name = DESCRIPTOR.services_by_name["EmbedderService"].full_name
    try:
        return asyncio.run(serve("embedder", EmbedderSettings(), build, add_EmbedderServiceServicer_to_server, full_name, rules=RULES))
    except ModelRefused as error:
        get_logger(__name__).error("model_refused", reason=str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
