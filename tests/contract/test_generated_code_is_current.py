"""What is committed in `corella/v1` is what the contracts in `proto/` generate, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_generated_code_is_what_the_contracts_generate(tmp_path: Path) -> None:
    protos = sorted((ROOT / "proto/corella/v1").glob("*.proto"))
    assert protos
    outputs = [f"--{kind}={tmp_path}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "proto"), *outputs, *map(str, protos)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    made = {path.name: path.read_bytes() for path in (tmp_path / "corella/v1").iterdir()}
    committed = {path.name: path.read_bytes() for path in (ROOT / "corella/v1").glob("*_pb2*")}
    assert sorted(made) == sorted(committed), "run `make proto`"
    assert [name for name in made if made[name] != committed[name]] == [], "run `make proto`"
