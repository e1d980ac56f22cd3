"""Small adapters as PEFT writes them, with random weights large enough to change what the model says, and a shelf to put them on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import json_format

from corella.v1 import trainer_pb2
from services.chassis.checked_folder import publish, write_whole
from services.chassis.model_fingerprint import base_fingerprint

BASE_FOLDER = Path(__file__).parents[2] / ".corella/models/SmolLM2-135M-Instruct"
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_adapters(folder: Path, ranks: Mapping[str, int]) -> dict[str, Path]:
    """One folder for each name, with `adapter_config.json` and `adapter_model.safetensors`."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    made: dict[str, Path] = {}
    for seed, (name, rank) in enumerate(ranks.items()):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(BASE_FOLDER, dtype=torch.bfloat16, local_files_only=True)
        model = get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=MODULES, task_type="CAUSAL_LM"))
        with torch.no_grad():
            for each, weights in model.named_parameters():
                if "lora_B" in each:
                    weights.normal_(std=0.2)
        made[name] = folder / name
        model.save_pretrained(made[name], safe_serialization=True)
        (made[name] / "README.md").unlink()
    return made


class ShelfFolder:
    """A shelf at a path, written to as the trainer does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generation = 0

    def put(self, version: str, files: Path, **annotations: str) -> tuple[str, str]:
        """Publishes a version of the adapter `default`; returns its name and digest."""
        name = f"adapters/default/versions/{version}"
        notes = {"name": name, "job": f"jobs/{version}", "base_fingerprint": base_fingerprint(BASE_FOLDER), **annotations}
        return name, publish(files, f"{self.folder}/adapters/default/{version}", notes).digest

    def serve(self, name: str = "", digest: str = "") -> None:
        """Says what is to serve; nothing: the base model."""
        self.generation += 1
        state = trainer_pb2.ServingState(adapter=name, digest=digest, generation=self.generation)
        write_whole(f"{self.folder}/serving.json", json_format.MessageToJson(state).encode())

    def file(self, version: str, name: str) -> Path:
        """A file of a version, to be damaged."""
        return self.folder / "adapters/default" / version / name


def copy_with(files: Path, target: Path, **config: object) -> Path:
    """A copy of an adapter with another configuration."""
    target.mkdir(parents=True)
    for path in files.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    given = json.loads((target / "adapter_config.json").read_text())
    (target / "adapter_config.json").write_text(json.dumps(given | config))
    return target
