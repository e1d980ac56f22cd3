"""The command is quick to start: help and errors of use need neither gRPC nor the stack."""

from __future__ import annotations

import subprocess
import sys

SLOW = (
    "grpc",
    "google.protobuf",
    "psutil",
    "celery",
    "torch",
    "transformers",
    "corella.evaluation",
    "services",
    "rich.progress",
    "opentelemetry",
)


def test_help_imports_nothing_slow() -> None:
    code = f"""
import sys
sys.argv = ["corella", "--help"]
from corella.cli.main import run
try:
    run()
except SystemExit:
    pass
print("LOADED", [name for name in {SLOW!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "LOADED []" in done.stdout
    assert "ingest" in done.stdout


def test_the_command_line_never_imports_services() -> None:
    code = (
        "import sys, corella.client, corella.cli.main, corella.cli.starting, corella.cli.standing, corella.cli.ingesting,"
        " corella.cli.chat, corella.cli.trace_view, corella.local.supervisor, corella.local.trace_receiver, corella.tracing.exporter\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'services'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
