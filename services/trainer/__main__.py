"""Runs the trainer: `python -m services.trainer`, configured by `CORELLA_TRAINER_…`."""

from __future__ import annotations

import asyncio
import sys

from corella.v1.trainer_pb2_grpc import add_TrainerServiceServicer_to_server
from services.chassis.server import serve
from services.trainer.app import build
from services.trainer.rules import RULES
from services.trainer.settings import TrainerSettings


def main() -> int:
    """Serves until told to stop. Returns the exit status."""
    full_name = "corella.v1.TrainerService"
    return asyncio.run(serve("trainer", TrainerSettings(), build, add_TrainerServiceServicer_to_server, full_name, rules=RULES))


if __name__ == "__main__":
    sys.exit(main())
