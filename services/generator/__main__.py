"""Runs the generator: `python -m services.generator`, configured by `CORELLA_GENERATOR_…`."""

from __future__ import annotations

import asyncio
import sys

from services.chassis.parent_death import die_with_parent


def main() -> int:
    """Serves until told to stop. Returns the exit status."""
    from corella.v1.generator_pb2_grpc import add_GeneratorServiceServicer_to_server
    from services.chassis.server import serve
    from services.generator.app import build
    from services.generator.rules import RULES
    from services.generator.settings import GeneratorSettings

    settings = GeneratorSettings()
    full_name = "corella.v1.GeneratorService"
    add_servicer = add_GeneratorServiceServicer_to_server
    # vLLM counts in the process's own registry.
    return asyncio.run(serve("generator", settings, build, add_servicer, full_name, rules=RULES, expose_process_registry=True))


if __name__ == "__main__":
    # vLLM's processes are started with `spawn`. By this file's path they run it first, as `__mp_main__`; by its name, which `python -m`
    # leaves here, they would skip it.
    __spec__ = None
    sys.exit(main())
elif __name__ == "__mp_main__":
    # Otherwise they outlive a generator that was killed, and keep its memory and cores.
    die_with_parent()
