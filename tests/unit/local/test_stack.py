"""What the local run tells each process is what that process reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corella.local.home import Home, Ports
from corella.local.stack import common_environment, local_stack
from services.embedder.settings import EmbedderSettings
from services.generator.settings import GeneratorSettings
from services.retriever.settings import RetrieverSettings
from services.trainer.settings import TrainerSettings

PORTS = Ports.from_base(61000)
CLASSES: dict[str, Any] = {
    "embedder": EmbedderSettings,
    "retriever": RetrieverSettings,
    "worker": RetrieverSettings,
    "retriever-beat": RetrieverSettings,
    "generator": GeneratorSettings,
    "trainer": TrainerSettings,
    "trainer-worker": TrainerSettings,
    "trainer-beat": TrainerSettings,
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def environments(home: Home) -> dict[str, dict[str, str]]:
    return {spec.name: spec.environment for spec in local_stack(home, PORTS)}


def settings_of(name: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    return CLASSES[name]()


@pytest.mark.parametrize("name", CLASSES)
def test_every_variable_names_a_setting_that_exists(name: str, environments: dict[str, dict[str, str]]) -> None:
    kind = CLASSES[name]
    prefix = kind.model_config["env_prefix"]
    named = [key for key in environments[name] if key.startswith("CORELLA_")]
    assert named
    for key in named:
        assert key.startswith(prefix)
        fields = kind.model_fields
        *groups, last = key.removeprefix(prefix).lower().split("__")
        for group in groups:
            fields = fields[group].annotation.model_fields
        assert last in fields, key


@pytest.mark.parametrize("name", ["embedder", "retriever", "generator", "trainer"])
def test_services_listen_on_loopback_at_their_ports(
    name: str, environments: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = settings_of(name, environments[name], monkeypatch).server
    assert (server.host, server.port) == ("127.0.0.1", getattr(PORTS, name))


@pytest.mark.parametrize("name", ["retriever", "worker", "retriever-beat"])
def test_retriever_and_worker_meet_in_the_same_stores(
    name: str, home: Home, environments: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(name, environments[name], monkeypatch)
    assert settings.milvus_uri == f"http://127.0.0.1:{PORTS.milvus}"
    assert settings.redis_url == f"redis://127.0.0.1:{PORTS.valkey}/0"
    assert settings.embedder.address == f"127.0.0.1:{PORTS.embedder}"
    assert settings.blob_url == home.blobs.as_uri()


def test_the_generator_finds_retriever_memory_and_model(
    home: Home, environments: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of("generator", environments["generator"], monkeypatch)
    assert settings.retriever.address == f"127.0.0.1:{PORTS.retriever}"
    assert settings.redis_url.get_secret_value() == f"redis://127.0.0.1:{PORTS.valkey}/0"
    assert settings.vllm.model_folder.is_relative_to(home.models)
    assert settings.state_folder == home.generator


@pytest.mark.parametrize("name", ["trainer", "trainer-worker", "trainer-beat"])
def test_the_trainers_processes_meet_in_the_same_queue_shelf_and_model(
    name: str, home: Home, environments: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(name, environments[name], monkeypatch)
    assert settings.generator.address == f"127.0.0.1:{PORTS.generator}"
    assert settings.retriever.address == f"127.0.0.1:{PORTS.retriever}"
    assert settings.redis_url.get_secret_value() == f"redis://127.0.0.1:{PORTS.valkey}/0"
    assert settings.shelf_url == home.shelf.as_uri()
    assert f"{settings.base_model_folder}" == environments["generator"]["CORELLA_GENERATOR_VLLM__MODEL_FOLDER"]


@pytest.mark.parametrize("name", CLASSES)
def test_every_process_sends_its_traces_to_the_runs_own_store_and_has_a_port_for_its_metrics(
    name: str, environments: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = settings_of(name, environments[name], monkeypatch).telemetry
    assert telemetry.otlp_endpoint == f"http://127.0.0.1:{PORTS.traces}"
    assert telemetry.metrics_port == PORTS.metrics[name]


def test_no_two_processes_share_a_port(home: Home) -> None:
    numbers = list(PORTS.numbers().values())
    assert len(numbers) == len(set(numbers))
    assert {PORTS.traces - 61000, *(port - 61000 for port in PORTS.metrics.values())} == {12, *range(21, 29)}


@pytest.mark.parametrize("given", ["http://collector:4317", ""])
def test_where_the_caller_says_where_traces_go_they_go_there(home: Home, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """Empty: nowhere."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://common:4317")
    monkeypatch.setenv("CORELLA_RETRIEVER_TELEMETRY__OTLP_ENDPOINT", given)
    specs = {spec.name: spec.environment for spec in local_stack(home, PORTS)}
    assert {specs[name]["CORELLA_RETRIEVER_TELEMETRY__OTLP_ENDPOINT"] for name in ("retriever", "worker", "retriever-beat")} == {given}
    assert specs["generator"]["CORELLA_GENERATOR_TELEMETRY__OTLP_ENDPOINT"] == "http://common:4317"


def test_training_may_use_every_core(environments: dict[str, dict[str, str]]) -> None:
    assert "OMP_NUM_THREADS" not in environments["trainer-worker"]


def test_a_model_chosen_by_the_caller_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORELLA_EMBEDDER_MODEL__FOLDER", "/models/other")
    specs = {spec.name: spec for spec in local_stack(home, PORTS)}
    assert specs["embedder"].environment["CORELLA_EMBEDDER_MODEL__FOLDER"] == "/models/other"


def test_the_model_chosen_for_the_generator_is_the_one_that_is_tuned(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORELLA_GENERATOR_VLLM__MODEL_FOLDER", "/models/other")
    specs = {spec.name: spec for spec in local_stack(home, PORTS)}
    assert specs["trainer-worker"].environment["CORELLA_TRAINER_BASE_MODEL_FOLDER"] == "/models/other"


def test_each_process_waits_only_for_processes_that_exist_and_in_no_circle(home: Home) -> None:
    done: set[str] = set()
    for spec in local_stack(home, PORTS):
        assert set(spec.after) <= done, spec.name
        done.add(spec.name)


def test_stores_are_stopped_after_those_who_write_to_them(home: Home) -> None:
    turns = {spec.name: spec.stop_turn for spec in local_stack(home, PORTS)}
    for name in ("generator", "retriever", "worker", "retriever-beat", "embedder", "trainer", "trainer-worker", "trainer-beat"):
        assert turns[name] < min(turns["valkey"], turns["milvus"], turns["traces"])


def test_nothing_is_looked_up_or_reported_elsewhere() -> None:
    environment = common_environment()
    assert environment["HF_HUB_OFFLINE"] == environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"


def test_two_stacks_fit_beside_each_other() -> None:
    first, second = Ports.from_base(15050).numbers().values(), Ports.from_base(15100).numbers().values()
    assert len({*first, *second}) == len(first) + len(second)


def test_no_outgoing_connection_can_hold_a_default_port() -> None:
    assert max(Ports.from_base().numbers().values()) < 32_768
