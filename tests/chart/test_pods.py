"""Every container of every rendering: probes, resources, volumes, how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from rendering import Rendering
from workloads import Pod, pods, port_numbers

pytestmark = pytest.mark.chart

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
# What a command may be, because the image has it: ours are slim, and have neither procps nor curl.
IN_THE_IMAGE = {
    "ours": {"sh", "python", "ray", "ls", "test", "grep", "cat", "true"},
    "valkey": {"sh", "valkey-cli", "valkey-server", "grep"},
    "milvus": {"milvus"},
}
LOADS_A_MODEL = {"embedder": 120, "generator": 300}
"""Seconds that loading the model may take at the least, by component."""


def long_running(rendering: Rendering) -> list[tuple[Pod, dict[str, Any]]]:
    return [(pod, container) for pod in pods(rendering) if not pod.is_test for container in pod.containers(init=False)]


def test_every_long_running_container_has_probes_of_ports_it_has(rendering: Rendering) -> None:
    for pod, container in long_running(rendering):
        for kind in PROBES:
            where = f"{pod.name}, {container['name']}, {kind}"
            assert kind in container, where
            [(how, what)] = [(key, value) for key, value in container[kind].items() if key in {"grpc", "httpGet", "tcpSocket", "exec"}]
            if how == "exec":
                assert programs(what["command"]) <= IN_THE_IMAGE[image_of(container)], where
            else:
                ports = port_numbers(container)
                assert what["port"] in ports or what["port"] in ports.values(), where
            assert container[kind].get("timeoutSeconds", 1) >= 5, f"{where}: a busy process needs longer than a second"


def programs(command: list[str]) -> set[str]:
    """The programs that a command names: its first word, and in what a shell is given the first of each pipe's parts."""
    if command[0] != "sh":
        return {command[0]}
    return {"sh", *(part.split()[0] for part in command[-1].split("|"))}


def image_of(container: dict[str, Any]) -> str:
    """Whose image it is."""
    name = container["image"].split("@")[0].rsplit(":", 1)[0].rsplit("/", 1)[-1]
    return name if name in IN_THE_IMAGE else "ours"


def test_commands_are_in_their_images(rendering: Rendering) -> None:
    for pod in pods(rendering):
        for container in pod.containers():
            if "command" in container:
                assert container["command"][0] in IN_THE_IMAGE[image_of(container)], f"{pod.name}, {container['name']}"


def test_loading_a_model_is_waited_for(rendering: Rendering) -> None:
    for pod, container in long_running(rendering):
        probe = container["startupProbe"]
        seconds = probe["failureThreshold"] * probe.get("periodSeconds", 10)
        assert seconds >= LOADS_A_MODEL.get(pod.component, 60), pod.name


def test_every_container_asks_for_and_is_held_to_resources(rendering: Rendering) -> None:
    for pod in pods(rendering):
        for container in pod.containers():
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), f"{pod.name}, {container['name']}"
            assert "memory" in resources["limits"], f"{pod.name}, {container['name']}"


def test_mounts_are_of_volumes_and_every_volume_is_mounted(rendering: Rendering) -> None:
    for pod in pods(rendering):
        claimed = {claim["metadata"]["name"] for claim in pod.owner["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        mounted = {mount["name"] for container in pod.containers() for mount in container.get("volumeMounts", [])}
        assert volumes | claimed == mounted, pod.name
        for container in pod.containers():
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            assert len(paths) == len(set(paths)), f"{pod.name}, {container['name']}"
            assert not any("subPath" in mount for mount in container.get("volumeMounts", [])), "a file mounted alone is not renewed"


def test_configuration_and_claims_that_are_mounted_are_rendered(rendering: Rendering) -> None:
    """A claim may also be one that the values name."""
    maps = {each["metadata"]["name"] for each in rendering.of_kind("ConfigMap")}
    claims = {each["metadata"]["name"] for each in rendering.of_kind("PersistentVolumeClaim")}
    named = str(rendering.values)
    for pod in pods(rendering):
        for volume in pod.spec.get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps, pod.name
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert claim in claims or f"'existingClaim': '{claim}'" in named, f"{pod.name}: {claim}"


def test_temporary_files_and_what_is_written_have_a_place(rendering: Rendering) -> None:
    """/tmp is bounded, and what the home folder is lies below it or below another volume that can be written."""
    for pod in pods(rendering):
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        for container in pod.containers():
            writable = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", []) if not mount.get("readOnly")}
            assert "/tmp" in writable, f"{pod.name}, {container['name']}"
            assert volumes[writable["/tmp"]]["emptyDir"].get("sizeLimit"), f"{pod.name}: /tmp without a limit fills the node"
            home = next((each["value"] for each in container.get("env", []) if each["name"] == "HOME"), None)
            if image_of(container) == "ours":
                assert home, f"{pod.name}, {container['name']}"
                assert any(home == path or home.startswith(f"{path}/") for path in writable), f"{pod.name}, {container['name']}"


def test_images_have_a_version(rendering: Rendering) -> None:
    for pod in pods(rendering):
        for container in pod.containers():
            image = container["image"]
            assert "@sha256:" in image or ":" in image.rsplit("/", 1)[-1], image
            assert not image.endswith(":latest"), image


def test_what_is_asked_of_one_gpu_is_its_limit(rendering: Rendering) -> None:
    """Kubernetes takes GPUs by their limit; a pod that has one is kept to the nodes that have them by selector or toleration."""
    for pod in pods(rendering):
        wanted = [name for container in pod.containers() for name in container["resources"].get("limits", {}) if "/" in name]
        values = rendering.values
        groups = {"embedder": values["embedder"], "generator": values["generator"], "trainer-worker": values["trainerWorker"]}
        groups |= {"ray-head": values["ray"]["head"], "ray-worker": values["ray"]["worker"]}
        gpu = groups.get(pod.component, {}).get("gpu", {"enabled": False})
        assert bool(wanted) == gpu["enabled"], pod.name
        if wanted and gpu["nodeSelector"]:
            assert gpu["nodeSelector"].items() <= pod.spec["nodeSelector"].items(), pod.name
        if wanted and gpu["runtimeClassName"]:
            assert pod.spec["runtimeClassName"] == gpu["runtimeClassName"], pod.name


def test_serving_goes_before_training(rendering: Rendering) -> None:
    classes = {each["metadata"]["name"]: each["value"] for each in rendering.of_kind("PriorityClass")}
    if not classes:
        return
    value = {pod.component: classes[pod.spec["priorityClassName"]] for pod in pods(rendering)}
    training = [component for component in value if component in {"trainer-worker", "trainer-beat", "ray-head", "ray-worker"}]
    assert all(value[each] < value["generator"] for each in training)
    assert all(value[each] >= value["generator"] for each in value.keys() - set(training))


def test_clocks_are_alone(rendering: Rendering) -> None:
    for pod in pods(rendering):
        if pod.component.endswith("beat"):
            assert pod.owner["spec"]["replicas"] == 1
            assert pod.owner["spec"]["strategy"] == {"type": "Recreate"}
