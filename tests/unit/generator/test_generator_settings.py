"""Settings that would be unsafe or cannot work are refused at the start."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.generator.settings import GeneratorSettings, VllmSettings
from services.generator.vllm_engine import engine_arguments, prepare_environment


def test_the_defaults_stand() -> None:
    settings = GeneratorSettings()
    assert (settings.server.port, settings.engine.kind, settings.serves_adapters) == (15053, "vllm", False)


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


@pytest.mark.parametrize(("cores", "given", "reserved"), [(2, None, "0"), (4, None, "0"), (16, None, "1"), (16, 3, "3"), (2, 1, "1")])
def test_of_few_cores_none_is_kept_from_the_model(monkeypatch: pytest.MonkeyPatch, cores: int, given: int | None, reserved: str) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    prepare_environment(VllmSettings(reserved_cpu_cores=given))
    assert os.environ["VLLM_CPU_NUM_OF_RESERVED_CPU"] == reserved
    assert os.environ["VLLM_NO_USAGE_STATS"] == "1"
    assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"


def test_an_engine_loads_safetensors_and_no_code_of_the_model() -> None:
    arguments = engine_arguments(VllmSettings(kv_cache_gib=0.5), 8)
    assert (arguments["load_format"], arguments["trust_remote_code"]) == ("safetensors", False)
    assert arguments["kv_cache_memory_bytes"] == 2**29
    assert "enable_lora" not in arguments
    assert "worker_cls" not in arguments


@pytest.mark.parametrize(("said", "on_cpu", "eager"), [(None, True, True), (None, False, False), (True, False, True), (False, True, False)])
def test_a_model_is_compiled_on_gpus_unless_said_otherwise(said: bool | None, on_cpu: bool, eager: bool) -> None:
    assert engine_arguments(VllmSettings(eager=said), 8, on_cpu=on_cpu)["enforce_eager"] is eager


def test_the_highest_rank_can_be_said_by_a_variable_and_is_one_that_vllm_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORELLA_GENERATOR_VLLM__MAX_LORA_RANK", "64")
    assert GeneratorSettings().vllm.max_lora_rank == 64
    monkeypatch.setenv("CORELLA_GENERATOR_VLLM__MAX_LORA_RANK", "12")
    with pytest.raises(ValidationError, match="max_lora_rank"):
        GeneratorSettings()


def test_a_model_may_be_held_by_several_gpus_whose_memory_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the chart says it: an empty `kv_cache_gib` can only be said in JSON, beside which other variables hold."""
    monkeypatch.setenv("CORELLA_GENERATOR_VLLM", '{"kv_cache_gib": null}')
    monkeypatch.setenv("CORELLA_GENERATOR_VLLM__TENSOR_PARALLEL_SIZE", "2")
    arguments = engine_arguments(GeneratorSettings().vllm, 8)
    assert arguments["tensor_parallel_size"] == 2
    assert "kv_cache_memory_bytes" not in arguments


def test_an_engine_for_adapters_has_a_slot_for_each_and_never_reads_one_again() -> None:
    arguments = engine_arguments(VllmSettings(max_lora_rank=32), 8, 4)
    assert (arguments["max_lora_rank"], arguments["max_loras"], arguments["max_cpu_loras"]) == (32, 4, 4)
    assert "worker_cls" not in arguments
    assert engine_arguments(VllmSettings(), 8, 4, on_cpu=True)["worker_cls"].endswith(".AdapterCpuWorker")


def test_a_shelf_makes_the_engine_ready_for_adapters() -> None:
    assert GeneratorSettings(adapters={"shelf_url": "/shelf"}).serves_adapters
    assert GeneratorSettings(vllm={"lora": True}).serves_adapters
    with pytest.raises(ValidationError, match=r"vllm\.lora must not be false"):
        GeneratorSettings(adapters={"shelf_url": "/shelf"}, vllm={"lora": False})


def test_an_openai_engine_serves_no_adapters_of_a_shelf() -> None:
    with pytest.raises(ValidationError, match=r"leave adapters\.shelf_url empty"):
        GeneratorSettings(
            engine={"kind": "openai"}, openai={"base_url": "http://127.0.0.1:1/v1", "model": "m"}, adapters={"shelf_url": "/shelf"}
        )


def test_the_address_of_the_store_is_not_shown() -> None:
    assert "15061" not in repr(GeneratorSettings())


def test_the_rank_of_adapters_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """There it is text; a chart and a shell have nothing else."""
    monkeypatch.setenv("CORELLA_GENERATOR_VLLM__MAX_LORA_RANK", "32")
    assert GeneratorSettings().vllm.max_lora_rank == 32
    for wrong in ("12", "many"):
        monkeypatch.setenv("CORELLA_GENERATOR_VLLM__MAX_LORA_RANK", wrong)
        with pytest.raises(ValidationError, match="max_lora_rank"):
            GeneratorSettings()
