"""Names are legal and unique, labels and selectors find what they are for."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from rendering import Rendering
from workloads import Pod, pods, port_numbers, selects

pytestmark = pytest.mark.chart

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
CLUSTER_WIDE = {"PriorityClass", "Namespace", "ClusterRole"}
# A StatefulSet's pods carry a label `<name>-<hash of ten>`, a Deployment's pods a name `<name>-<ten>-<five>`.
LONGEST = {"StatefulSet": 52, "Deployment": 46, "RayCluster": 46}


def test_names_are_legal_and_unique(rendering: Rendering) -> None:
    found = Counter((each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in rendering.objects)
    assert [name for name, count in found.items() if count > 1] == []
    for kind, _, name in found:
        assert NAME.fullmatch(name), f"{kind}/{name}"
        limit = 253 if kind in CLUSTER_WIDE else LONGEST.get(kind, 63)
        assert len(name) <= limit, f"{kind}/{name} has {len(name)} characters"
    for pod in pods(rendering):
        names = [each["name"] for each in (*pod.containers(), *pod.spec.get("volumes", []))]
        assert all(NAME.fullmatch(name) and len(name) <= 63 for name in names), pod.name
        assert all(len(name) <= 15 for container in pod.containers() for name in port_numbers(container)), pod.name


def test_labels_are_legal_and_say_whose_they_are(rendering: Rendering) -> None:
    for each in (*(one["metadata"] for one in rendering.objects), *(pod.template["metadata"] for pod in pods(rendering))):
        labels = each.get("labels", {})
        assert {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/part-of"} <= labels.keys(), each
        for key, value in labels.items():
            assert isinstance(value, str), f"{key}: {value!r} would be refused"
            assert LABEL.fullmatch(value), f"{key}: {value}"
            assert len(value) <= 63, f"{key}: {value}"


def test_cluster_wide_objects_of_two_namespaces_do_not_collide(rendering: Rendering) -> None:
    for each in rendering.objects:
        if each["kind"] in CLUSTER_WIDE:
            assert rendering.made_of.namespace in each["metadata"]["name"]


def test_workloads_select_their_own_pods_and_no_others(rendering: Rendering) -> None:
    everything = pods(rendering)
    for pod in everything:
        if pod.owner["kind"] in {"Deployment", "StatefulSet"}:
            chosen = [each.name for each in everything if selects(pod.owner["spec"]["selector"], each.labels)]
            assert chosen == [pod.name]


def test_services_find_pods_and_their_ports(rendering: Rendering) -> None:
    for service in rendering.of_kind("Service"):
        chosen = chosen_by({"matchLabels": service["spec"]["selector"]}, rendering)
        assert chosen, service["metadata"]["name"]
        for pod in chosen:
            ports = {name: number for container in pod.containers(init=False) for name, number in port_numbers(container).items()}
            for port in service["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                assert target in ports or target in ports.values(), f"{service['metadata']['name']}: {target}"
                # A headless service has no port of its own: a client meets the pod's.
                if service["spec"].get("clusterIP") == "None":
                    assert port["port"] == ports.get(target, target), service["metadata"]["name"]


def test_grpc_services_are_headless(rendering: Rendering) -> None:
    """One HTTP/2 connection through a virtual address would stay with one pod for good."""
    for service in rendering.of_kind("Service"):
        if any(port["name"] == "grpc" for port in service["spec"]["ports"]):
            assert service["spec"]["clusterIP"] == "None"


def test_stateful_sets_have_the_service_they_name(rendering: Rendering) -> None:
    services = {each["metadata"]["name"] for each in rendering.of_kind("Service")}
    assert {each["spec"]["serviceName"] for each in rendering.of_kind("StatefulSet")} <= services


def test_disruption_budgets_are_of_pods_and_leave_a_way_out(rendering: Rendering) -> None:
    budgets = rendering.of_kind("PodDisruptionBudget")
    for budget in budgets:
        chosen = chosen_by(budget["spec"]["selector"], rendering)
        assert len(chosen) == 1, budget["metadata"]["name"]
        spec = budget["spec"]
        assert spec.get("maxUnavailable", 1) != 0, "a node could never be emptied"
        assert ("maxUnavailable" in spec) != ("minAvailable" in spec)
    guarded = {pod.component for budget in budgets for pod in chosen_by(budget["spec"]["selector"], rendering)}
    assert {"embedder", "retriever", "generator"} <= guarded


def test_autoscalers_scale_what_is_there_and_what_names_no_number(rendering: Rendering) -> None:
    """A number in the Deployment would be set anew by every upgrade, whatever the autoscaler had found."""
    deployments = {each["metadata"]["name"]: each for each in rendering.of_kind("Deployment")}
    scaled: list[str] = []
    for scaler in rendering.of_kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["apiVersion"], target["kind"]) == ("apps/v1", "Deployment")
        assert "replicas" not in deployments[target["name"]]["spec"], target["name"]
        scaled.append(target["name"])
    assert len(scaled) == len(set(scaled)), "two autoscalers would pull in two directions"


def test_replicas_are_spread(rendering: Rendering) -> None:
    for pod in pods(rendering):
        if pod.owner["kind"] == "Deployment" and pod.component in {"embedder", "retriever", "generator", "trainer", "worker"}:
            keys = {each["topologyKey"]: each for each in pod.spec["topologySpreadConstraints"]}
            assert {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} <= keys.keys(), pod.name
            assert all(selects(each["labelSelector"], pod.labels) for each in keys.values()), pod.name


def test_pod_monitors_find_every_port_of_metrics(rendering: Rendering) -> None:
    for monitor in rendering.of_kind("PodMonitor"):
        endpoints = {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]}
        having = {pod.name for pod in pods(rendering) for container in pod.containers() if endpoints & port_numbers(container).keys()}
        everywhere = {pod.name for pod in pods(rendering) for container in pod.containers() if "metrics" in port_numbers(container)}
        chosen = {pod.name for pod in chosen_by(monitor["spec"]["selector"], rendering)}
        assert everywhere == having <= chosen


def chosen_by(selector: dict[str, Any], rendering: Rendering) -> list[Pod]:
    """The pods that a selector finds."""
    return [pod for pod in pods(rendering) if selects(selector, pod.labels)]
