"""Settings that would be unsafe or cannot work are refused at the start."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.generator.settings import GeneratorSettings


def test_the_defaults_stand() -> None:
    settings = GeneratorSettings()
    assert (settings.server.port, settings.engine.kind, settings.vllm.lora) == (50053, "vllm", False)


def test_replicas_must_share_their_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"me:{hashlib.sha256(b'x').hexdigest()}\n")
    monkeypatch.setenv("CORELLA_GENERATOR_SERVER__HOST", "0.0.0.0")
    monkeypatch.setenv("CORELLA_GENERATOR_SERVER__AUTH__TOKENS_FILE", str(tokens))
    with pytest.raises(ValidationError, match="token_keys_file"):
        GeneratorSettings()
    monkeypatch.setenv("CORELLA_GENERATOR_MEMORY__TOKEN_KEYS_FILE", str(tmp_path / "keys"))
    assert GeneratorSettings().memory.token_keys_file == tmp_path / "keys"


def test_an_openai_engine_needs_an_address_and_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORELLA_GENERATOR_ENGINE__KIND", "openai")
    with pytest.raises(ValidationError, match="base_url"):
        GeneratorSettings()
    monkeypatch.setenv("CORELLA_GENERATOR_OPENAI__BASE_URL", "http://127.0.0.1:8000/v1")
    monkeypatch.setenv("CORELLA_GENERATOR_OPENAI__MODEL", "m")
    assert GeneratorSettings().openai.model == "m"


def test_a_mistyped_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORELLA_GENERATOR_VLLM__EAGRE", "1")
    with pytest.raises(ValidationError, match="eagre"):
        GeneratorSettings()


def test_the_address_of_the_store_is_not_shown() -> None:
    assert "50061" not in repr(GeneratorSettings())
