"""What a model folder says about itself, read without running anything in it.

`read_embedding_folder` reads sentence-transformers' layout: modules.json lists a Transformer, a Pooling and perhaps a Normalize, each
with a configuration file. Weights are taken from safetensors only: other formats can run code when they are opened.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from services.embedder.domain import InputType, ModelRefused

Pooling = Literal["mean", "cls", "lasttoken"]

# The names sentence-transformers documents for each task, in its order (SentenceTransformer.encode_query, encode_document). Its version 6.2
# never gets to `passage`, because it adds an empty `document` to every folder; models saved with `passage` mean it, so it is taken here.
_PROMPT_NAMES = {InputType.QUERY: ("query",), InputType.DOCUMENT: ("document", "passage", "corpus")}
_LEGACY_POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "lasttoken"}
_FINGERPRINTED = {".safetensors", ".json", ".txt", ".model"}


@dataclass(frozen=True)
class EmbeddingFolder:
    """A folder that can be served. `transformer` is where weights and tokenizer lie."""

    path: Path
    transformer: Path
    pooling: Pooling
    normalize: bool
    prompts: dict[InputType, str]
    max_tokens: int
    lower_case: bool
    fingerprint: str


def read_embedding_folder(path: Path, max_tokens: int | None = None) -> EmbeddingFolder:
    """The folder's description; `max_tokens` replaces what it says about the longest text. Raises `ModelRefused` with the reason."""
    modules = _json(path / "modules.json")
    if not isinstance(modules, list):
        raise ModelRefused(f"{path / 'modules.json'} is not a list of modules")
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ModelRefused(f"{path} is made of {', '.join(kinds)}; Transformer, Pooling and Normalize can be served")
    transformer, pooling = (_inside(path, str(module["path"])) for module in modules[:2])
    described = _json(transformer / "sentence_bert_config.json", {})
    own = _json(path / "config_sentence_transformers.json", {})
    return EmbeddingFolder(
        path=path,
        transformer=transformer,
        pooling=_pooling(pooling),
        normalize=len(kinds) == 3,
        prompts=_prompts(own),
        max_tokens=longest(transformer, max_tokens, described.get("max_seq_length")),
        lower_case=bool(described.get("do_lower_case", False)),
        fingerprint=fingerprint(path),
    )


def longest(path: Path, override: int | None, declared: int | None = None) -> int:
    """Longest input in tokens: the override, else what the model declares, never more than it has positions for."""
    require_safetensors(path)
    positions = _json(path / "config.json").get("max_position_embeddings")
    tokenizer = _json(path / "tokenizer_config.json", {}).get("model_max_length")
    # Tokenizers without a limit say 1e30.
    limits = [int(limit) for limit in (positions, tokenizer) if limit and limit < 10**7]
    if override is not None and limits and override > min(limits):
        raise ModelRefused(f"max_tokens {override} is more than the {min(limits)} that {path} takes")
    known = [value for value in (override, declared, *limits) if value]
    if not known:
        raise ModelRefused(f"{path} does not say how long a text may be: set max_tokens")
    return override or min(known)


def require_safetensors(path: Path) -> None:
    """Raises `ModelRefused` unless the folder's weights are safetensors."""
    if not path.is_dir():
        raise ModelRefused(f"there is no model folder {path.absolute()}")
    if not any(path.glob("*.safetensors")):
        raise ModelRefused(f"{path} holds no .safetensors file; weights in other formats are not opened, because they can run code")


def fingerprint(path: Path) -> str:
    """Sixteen hexadecimal digits of a SHA-256 over names and contents of weights, tokenizer and configurations, sorted by name."""
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.suffix in _FINGERPRINTED and file.is_file()):
        name = file.relative_to(path).as_posix().encode()
        digest.update(len(name).to_bytes(8) + name + file.stat().st_size.to_bytes(8))
        with file.open("rb") as content:
            while block := content.read(2**20):
                digest.update(block)
    return digest.hexdigest()[:16]


def _pooling(path: Path) -> Pooling:
    config = _json(path / "config.json")
    if config.get("include_prompt", True) is not True:
        raise ModelRefused(f"{path} leaves the instruction out of the pooling, which is not supported")
    modes = config.get("pooling_mode") or [
        _LEGACY_POOLING.get(key, key) for key, value in config.items() if key.startswith("pooling_mode_") and value is True
    ]
    modes = [modes] if isinstance(modes, str) else modes or ["mean"]
    if len(modes) != 1 or modes[0] not in ("mean", "cls", "lasttoken"):
        raise ModelRefused(f"{path} pools by {', '.join(map(str, modes))}; mean, cls and lasttoken can be served")
    pooling: Pooling = modes[0]
    return pooling


def _prompts(config: dict[str, Any]) -> dict[InputType, str]:
    prompts = {name: text for name, text in (config.get("prompts") or {}).items() if text}
    fallback = prompts.get(config.get("default_prompt_name") or "", "")
    return {
        kind: next((prompts[name] for name in names if name in prompts), fallback) for kind, names in _PROMPT_NAMES.items()
    }  # fmt: skip


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelRefused(f"{folder / 'modules.json'} points outside of its folder: {name}")
    return path


def _json(path: Path, default: Any = None) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if default is not None:
            return default
        raise ModelRefused(f"{path.absolute()} is missing") from None
    except (ValueError, OSError) as error:
        raise ModelRefused(f"{path} cannot be read: {error}") from error
