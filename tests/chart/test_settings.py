"""What the pods are told is what the services know: every command, flag, variable and port against the real settings classes.

Settings ignore a variable that names no field, so each name is followed through the groups to its field, and then the class is made from
the container's environment, nothing else being set: what it refuses there would keep the pod from starting.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from container_settings import CLOSING_SECONDS, SERVERS, SETTINGS, module_of, services, settings_of, unknown, values_of
from rendering import Rendering
from workloads import environment, pods, port_numbers

from corella.local.home import Home, Ports
from corella.local.stack import local_stack
from services.generator.settings import GeneratorSettings
from services.trainer.settings import TrainerSettings

pytestmark = pytest.mark.chart


def test_every_variable_is_a_setting(rendering: Rendering) -> None:
    for pod, container, module in services(rendering):
        assert unknown(container, module) == [], pod.name


@pytest.mark.parametrize(
    "name",
    ["CORELLA_RETRIEVER_REDIS_URI", "CORELLA_RETRIEVER_SEARCH__LIMIT", "CORELLA_EMBEDDER_SERVER__PORT", "CORELLA_RETRIEVER_REDIS_URL__X"],
)
def test_a_variable_that_is_no_setting_is_found(name: str) -> None:
    assert unknown({"env": [{"name": name, "value": "x"}]}, "services.retriever") == [name]


def test_the_services_take_their_environment(rendering: Rendering) -> None:
    for _, container, module in services(rendering):
        settings_of(container, module)


def test_no_variable_is_set_twice_or_used_before_it_is_set(rendering: Rendering) -> None:
    for pod in pods(rendering):
        for container in pod.containers():
            names = [variable["name"] for variable in container.get("env", [])]
            assert len(names) == len(set(names)), f"{pod.name}, {container['name']}"
            if module_of(container) in SETTINGS:
                assert not any("$(" in value for value in values_of(container).values()), pod.name


def test_every_module_is_there(rendering: Rendering) -> None:
    for pod in pods(rendering):
        for container in pod.containers():
            if container.get("command", [""])[0] == "python":
                module = module_of(container)
                assert module, f"{pod.name}: {container['command']}"
                assert importlib.util.find_spec(module), f"{pod.name}: {module}"


def test_every_process_of_a_local_run_is_in_the_release(rendering: Rendering) -> None:
    values = rendering.values
    absent = {"valkey"} if not values["valkey"]["enabled"] else set()
    absent |= {"milvus"} if values["milvus"]["mode"] == "external" else set()
    absent |= {"trainer", "trainer-worker", "trainer-beat"} if not values["training"]["enabled"] else set()
    local = {spec.name for spec in local_stack(Home(Path("/nonexistent")), Ports.from_base())}
    running = {pod.component for pod in pods(rendering) if not pod.is_test}
    # Traces go to a collector in a cluster, and to a receiver of its own in a local run.
    assert running - {"ray-head", "ray-worker"} == local - absent - {"traces"}


def test_flags_are_known(rendering: Rendering) -> None:
    """The programs' own parsers take them."""
    for pod in pods(rendering):
        for container in pod.containers():
            module = module_of(container)
            arguments = [*container.get("command", [])[3:], *container.get("args", [])]
            if module in SETTINGS:
                assert arguments == [], f"{pod.name}: services have no flags"
            elif module:
                with (
                    patch.object(argparse.ArgumentParser, "parse_args", _only_parse),
                    patch("sys.argv", [module, *arguments]),
                    pytest.raises(Parsed),
                ):
                    importlib.import_module(module).main()


class Parsed(Exception):
    """The arguments were taken; the program itself is not to run."""


_parse_args = argparse.ArgumentParser.parse_args


def _only_parse(parser: argparse.ArgumentParser, *given: Any) -> None:
    _parse_args(parser, *given)
    raise Parsed


def test_ports_are_those_that_the_services_listen_on(rendering: Rendering) -> None:
    for pod, container, module in services(rendering):
        settings, ports = settings_of(container, module), port_numbers(container)
        expected = {"metrics": settings.telemetry.metrics_port}
        assert settings.telemetry.metrics_host == rendering.values["listenHost"]
        if module in SERVERS:
            expected |= {"grpc": settings.server.port, "health": settings.server.health_port}
            assert settings.server.host == rendering.values["listenHost"]
            assert settings.server.auth.enabled, "anybody in the cluster could call"
        assert ports == expected, pod.name


def test_clients_call_ports_that_services_have(rendering: Rendering) -> None:
    release, values = rendering.made_of, rendering.values
    known = {
        f"{service['metadata']['name']}.{release.namespace}.svc.{values['clusterDomain']}:{port['port']}"
        for service in rendering.of_kind("Service")
        for port in service["spec"]["ports"]
    }
    inside = re.compile(rf"[\w.-]+\.svc\.{re.escape(values['clusterDomain'])}:\d+")
    for pod in pods(rendering):
        for container in pod.containers():
            text = " ".join(
                [
                    *(str(variable.get("value")) for variable in container.get("env", [])),
                    *container.get("command", []),
                    *container.get("args", []),
                ]
            )
            assert set(inside.findall(text)) <= known, pod.name


def test_files_that_settings_name_are_mounted(rendering: Rendering) -> None:
    for pod, container, module in services(rendering):
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        for name, value in values_of(container).items():
            if not value.startswith("/") or name in {"PATH", "HOME"}:
                continue
            mount = next((path for path in sorted(mounts, key=len, reverse=True) if f"{value}/".startswith(f"{path}/")), None)
            assert mount, f"{pod.name}: {name} is {value}, which no volume has"
            secret = volumes[mounts[mount]].get("secret", {})
            if "items" in secret:
                assert value[len(mount) + 1 :] in {item["path"] for item in secret["items"]}, f"{pod.name}: {name} is {value}"
            assert module


def test_a_pod_has_time_to_end(rendering: Rendering) -> None:
    """Until clients know of it, until running calls are over, and something for closing; and calls are not cut off before they must."""
    for pod, container, module in services(rendering):
        seconds = pod.spec["terminationGracePeriodSeconds"]
        if module not in SERVERS:
            assert seconds >= 30, pod.name
            continue
        server = settings_of(container, module).server
        hook = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert hook + server.drain_delay_seconds > 0, f"{pod.name}: clients learn of its end after it has refused them"
        assert seconds >= hook + server.drain_delay_seconds + server.drain_seconds + CLOSING_SECONDS, pod.name


def test_adapters_fit_the_model_that_serves(rendering: Rendering) -> None:
    """The trainer tunes what the generator serves, and puts it where the generator looks."""
    settings = {module: settings_of(container, module) for _, container, module in services(rendering)}
    generator, trainer = settings["services.generator"], settings.get("services.trainer.worker")
    assert isinstance(generator, GeneratorSettings)
    if isinstance(trainer, TrainerSettings) and generator.engine.kind == "vllm" and generator.adapters.shelf_url:
        assert trainer.base_model_folder == generator.vllm.model_folder
        assert trainer.shelf_url == generator.adapters.shelf_url


def test_whoever_calls_has_a_token_and_the_question_knows_its_variables(rendering: Rendering) -> None:
    encrypted = rendering.values["tls"]["mode"] != "none"
    for pod, container, module in services(rendering):
        settings = settings_of(container, module)
        for name in ("embedder", "retriever", "generator"):
            client = getattr(settings, name, None)
            if client is None or f"{settings.model_config['env_prefix']}{name.upper()}__ADDRESS" not in environment(container):
                continue
            assert client.token_file, f"{pod.name} calls {name} without a token"
            assert bool(client.ca_file and client.certificate_file and client.key_file) == encrypted, pod.name
    for pod in pods(rendering):
        if pod.is_test:
            unknown_names = {name for name in environment(pod.main) if name.startswith("CORELLA_")} - client_variables()
            assert unknown_names == set()


def client_variables() -> set[str]:
    """The variables that the command line reads."""
    import typer

    from corella.cli.main import app

    command: Any = typer.main.get_command(app)
    names = {option.envvar for option in command.params if getattr(option, "envvar", None)}
    return {name for each in names for name in ([each] if isinstance(each, str) else each)}
