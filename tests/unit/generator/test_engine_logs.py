"""Lines of the processes that vLLM starts have the form of the service's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

PROGRAM = """
import json, logging, multiprocessing, os, warnings
from logging.config import dictConfig
from services.chassis.settings import TelemetrySettings
from services.chassis.telemetry_logs import setup_logging
from services.generator import engine_logs

def configured():
    # As vLLM does it in each of its processes, when it is imported.
    with open(os.environ["VLLM_LOGGING_CONFIG_PATH"]) as file:
        dictConfig(json.load(file))

def engine():
    configured()
    logging.getLogger("vllm.engine").info("too small a thing")
    logging.getLogger("vllm.engine").warning("no AMX for %s", "this model")
    logging.getLogger("torch._library.triton").error("broken")

if __name__ == "__main__":
    setup_logging("generator", TelemetrySettings())
    engine_logs.prepare()
    configured()
    logging.getLogger("vllm.here").warning("in the service")
    child = multiprocessing.get_context("spawn").Process(target=engine, name="EngineCore")
    child.start()
    child.join(60)
"""


def test_what_vllm_says_is_one_json_object_a_line_in_each_of_its_processes(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(program)], env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, timeout=120, check=True
    )
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    told = [(line["event"], line["level"], line["service"], line.get("process", "")) for line in lines]
    assert told == [
        ("in the service", "warning", "generator", ""),
        ("no AMX for this model", "warning", "generator", "EngineCore"),
        ("broken", "error", "generator", "EngineCore"),
    ]
