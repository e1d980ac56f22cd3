"""Lines of vLLM's own processes in the form of the service's.

vLLM starts its scheduler and its workers as processes in which nothing of ours runs but what its logging configuration names: a file,
`engine_logs.json` beside this one, that asks `handler` for a handler in each process that imports vLLM.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
from pathlib import Path

from services.chassis.telemetry_logs import hand_on, setup_handed_on

_TRACE = "torch.__trace"
"""No log: what torch's compiler did, for a file."""
_HANDED_ON = "CORELLA_GENERATOR_ENGINE_LOGS"


def prepare() -> None:
    """To be called before vLLM is imported. Whoever has configured vLLM's logging by its own variables keeps that."""
    os.environ.setdefault("VLLM_LOGGING_CONFIG_PATH", str(Path(__file__).with_suffix(".json")))
    os.environ[_HANDED_ON] = hand_on()


def handler() -> logging.Handler:
    """For `logging.config.dictConfig`. Sets up a process of vLLM's; the service itself has been. The handler adds nothing."""
    # torch gives its loggers handlers of its own when it is imported, which vLLM does in any case.
    importlib.import_module("torch")
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if f"{name}.".startswith("torch.") and name != _TRACE and isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    handed_on = os.environ.get(_HANDED_ON)
    if handed_on and multiprocessing.parent_process() is not None:
        setup_handed_on(handed_on, process=multiprocessing.current_process().name)
    return logging.NullHandler()
