"""Every pod of every rendering meets the Pod Security Standard "restricted", and the check of it finds what breaks it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pod_security import CONTROLS, violations
from rendering import Rendering
from workloads import pods

pytestmark = pytest.mark.chart

GOOD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [{"name": "main", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}

# One for each control: where in the spec, and what.
BREACHES: dict[str, tuple[tuple[Any, ...], Any]] = {
    "host_process": (("securityContext", "windowsOptions"), {"hostProcess": True}),
    "host_namespaces": (("hostNetwork",), True),
    "privileged": (("containers", 0, "securityContext", "privileged"), True),
    "host_ports": (("containers", 0, "ports"), [{"containerPort": 80, "hostPort": 80}]),
    "host_of_probes": (("containers", 0, "livenessProbe"), {"tcpSocket": {"port": 80, "host": "10.0.0.1"}}),
    "app_armor": (("securityContext", "appArmorProfile"), {"type": "Unconfined"}),
    "se_linux": (("securityContext", "seLinuxOptions"), {"user": "system_u"}),
    "proc_mount": (("containers", 0, "securityContext", "procMount"), "Unmasked"),
    "sysctls": (("securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
    "volume_types": (("volumes",), [{"name": "host", "hostPath": {"path": "/"}}]),
    "privilege_escalation": (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True),
    "running_as_non_root": (("securityContext", "runAsNonRoot"), False),
    "running_as_root_user": (("containers", 0, "securityContext", "runAsUser"), 0),
    "seccomp": (("securityContext", "seccompProfile"), {"type": "Unconfined"}),
    "capabilities": (("containers", 0, "securityContext", "capabilities"), {"drop": ["ALL"], "add": ["NET_ADMIN"]}),
}


def test_what_meets_the_standard_is_found_to_meet_it() -> None:
    assert violations(GOOD) == []


def test_there_is_a_breach_for_each_control() -> None:
    assert list(BREACHES) == [control.__name__ for control in CONTROLS]


@pytest.mark.parametrize("control", BREACHES)
def test_a_breach_is_found(control: str) -> None:
    path, value = BREACHES[control]
    spec = copy.deepcopy(GOOD)
    place: Any = spec
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert violations(spec)


def test_an_init_container_is_judged_like_the_others() -> None:
    assert violations({**GOOD, "initContainers": [{"name": "first"}]}) == [
        "first: allowPrivilegeEscalation",
        "first: capabilities",
    ]


def test_every_pod_is_restricted(rendering: Rendering) -> None:
    assert {pod.name: found for pod in pods(rendering) if (found := violations(pod.spec))} == {}


def test_no_container_can_write_to_its_root_file_system(rendering: Rendering) -> None:
    for pod in pods(rendering):
        for container in pod.containers():
            assert container["securityContext"].get("readOnlyRootFilesystem") is True, f"{pod.name}, {container['name']}"


def test_no_pod_has_a_token_of_kubernetes(rendering: Rendering) -> None:
    """Nothing here calls Kubernetes, so nothing could do so for an intruder."""
    accounts = {account["metadata"]["name"]: account for account in rendering.of_kind("ServiceAccount")}
    for pod in pods(rendering):
        assert pod.spec.get("automountServiceAccountToken") is False, pod.name
        assert not any("serviceAccountToken" in str(volume) for volume in pod.spec.get("volumes", [])), pod.name
    assert all(account.get("automountServiceAccountToken") is False for account in accounts.values())
    assert rendering.of_kind("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding") == []


def test_no_container_sees_variables_that_kubernetes_makes_of_services(rendering: Rendering) -> None:
    """A Service named corella-retriever would become CORELLA_RETRIEVER_PORT, which is the name of a setting."""
    for pod in pods(rendering):
        assert pod.spec.get("enableServiceLinks") is False, pod.name
