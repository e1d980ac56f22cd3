"""The network policies allow exactly what files/allow-list.yaml says, from either end, and nothing else.

The policies are evaluated here as Kubernetes does: a pod that any policy selects for a direction may do in that direction only what some
policy allows. What comes out is compared with the list, read by itself.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from rendering import CHART, Rendering
from workloads import Pod, pods, port_numbers, selects

pytestmark = pytest.mark.chart

Edge = tuple[str, str, str]
"""From, to, and the ports as text: names of ours, `53/UDP` of others, `*` for all."""


def policies(rendering: Rendering, pod: Pod, direction: str) -> list[dict[str, Any]]:
    """The rules for a pod in one direction: `Ingress` or `Egress`."""
    chosen = [
        each["spec"]
        for each in rendering.of_kind("NetworkPolicy")
        if selects(each["spec"]["podSelector"], pod.labels) and direction in each["spec"]["policyTypes"]
    ]
    assert chosen, f"{pod.name}: no policy binds it, so everything is allowed"
    return [rule for spec in chosen for rule in spec.get(direction.lower(), []) or []]


def ports_of(rule: dict[str, Any], pod: Pod | None) -> list[str]:
    """Ports of a rule by the names that the pod has for them."""
    if not rule.get("ports"):
        return ["*"]
    if pod is None:
        return [f"{port['port']}/{port['protocol']}" for port in rule["ports"]]
    names = {number: name for container in pod.containers(init=False) for name, number in port_numbers(container).items()}
    assert all(port["protocol"] == "TCP" and port["port"] in names for port in rule["ports"]), f"{pod.name} has not all of {rule['ports']}"
    return [names[port["port"]] for port in rule["ports"]]


def edges(rendering: Rendering, direction: str) -> set[Edge]:
    """What the policies allow in one direction. Who is outside the release is named as the values name it."""
    key = (rendering.made_of.name, direction)
    if key not in _found:
        _found[key] = _edges(rendering, direction)
    return _found[key]


_found: dict[tuple[str, str], set[Edge]] = {}


def _edges(rendering: Rendering, direction: str) -> set[Edge]:
    everything = pods(rendering)
    outside = named_outside(rendering, direction)
    found: set[Edge] = set()
    for pod in everything:
        for rule in policies(rendering, pod, direction):
            for peer in rule["from" if direction == "Ingress" else "to"]:
                own = peer.keys() == {"podSelector"}
                others = [each for each in everything if own and selects(peer["podSelector"], each.labels)]
                assert others or not own, f"{pod.name}: {peer} is nobody"
                for other in others:
                    ends = (other, pod) if direction == "Ingress" else (pod, other)
                    found |= {(ends[0].component, ends[1].component, port) for port in ports_of(rule, ends[1])}
                if not own:
                    for name in outside[key_of(peer, None if direction == "Ingress" else rule["ports"])]:
                        ends_ = (name, pod.component) if direction == "Ingress" else (pod.component, name)
                        found |= {(*ends_, port) for port in ports_of(rule, pod if direction == "Ingress" else None)}
    return found


def key_of(peer: dict[str, Any], ports: list[dict[str, Any]] | None) -> str:
    return json.dumps([peer, ports], sort_keys=True)


def named_outside(rendering: Rendering, direction: str) -> dict[str, list[str]]:
    """The names that the values give to a peer. Several destinations may be the same addresses and ports."""
    policy, found = rendering.values["networkPolicy"], dict[str, list[str]]()
    if direction == "Ingress":
        for name in ("clients", "monitoring", "rayOperator"):
            for peer in policy[name]:
                found.setdefault(key_of(peer, None), []).append(name)
    else:
        for name, destination in policy["destinations"].items():
            for peer in destination["to"]:
                found.setdefault(key_of(peer, destination["ports"]), []).append(name)
    return found


def holds(rendering: Rendering, condition: str) -> bool:
    """Whether a condition of the list holds, by the values."""
    values = rendering.values
    training, models = values["training"]["enabled"], values["models"]
    elsewhere = lambda model: model["source"].startswith("hf:") or "://" in model["source"]  # noqa: E731
    kube_ray = values["ray"]["kubeRay"] == "always" or (
        values["ray"]["kubeRay"] == "auto" and "ray.io/v1" in rendering.made_of.api_versions
    )
    conditions = {
        "": True,
        "otlp": bool(values["telemetry"]["otlpEndpoint"]),
        "kubeRay": training and values["ray"]["enabled"] and kube_ray,
        "milvusStandalone": values["milvus"]["mode"] == "standalone",
        "externalRedis": not values["valkey"]["enabled"],
        "externalMilvus": values["milvus"]["mode"] == "external",
        "externalRay": training and not values["ray"]["enabled"] and bool(values["ray"]["address"]),
        "blobsElsewhere": bool(values["storage"]["blobs"]["url"]),
        "shelfElsewhere": bool(values["storage"]["shelf"]["url"]),
        "embeddingModelElsewhere": elsewhere(models["embedding"]) or elsewhere(models["reranking"]),
        "generationModelElsewhere": elsewhere(models["generation"]),
        "oidc": bool(values["auth"]["oidc"]["issuer"]),
        "webSources": values["sources"]["web"]["enabled"],
        "openai": bool(values["generator"]["openai"]["baseUrl"]),
        "teachers": training and bool(values["training"]["teacherUrls"]),
    }
    return conditions[condition]


def listed(rendering: Rendering, direction: str) -> set[Edge]:
    """What the list allows in one direction."""
    components = {pod.component for pod in pods(rendering)}
    policy = rendering.values["networkPolicy"]
    callers = {name for name in ("clients", "monitoring", "rayOperator") if policy[name]}
    ends = {"Ingress": (components | callers, components), "Egress": (components, components | policy["destinations"].keys())}[direction]
    found: set[Edge] = set()
    for line in yaml.safe_load((CHART / "files/allow-list.yaml").read_text())["connections"]:
        if line["from"] in ends[0] and line["to"] in ends[1] and holds(rendering, line.get("when", "")):
            if line["to"] in components:
                ports = line["ports"] or ["*"]
            else:
                ports = [f"{port['port']}/{port['protocol']}" for port in policy["destinations"][line["to"]]["ports"]]
            found |= {(line["from"], line["to"], port) for port in ports}
    return found


@pytest.mark.parametrize("direction", ["Ingress", "Egress"])
def test_policies_allow_what_the_list_says_and_nothing_else(rendering: Rendering, direction: str) -> None:
    if not rendering.values["networkPolicy"]["enabled"]:
        assert rendering.of_kind("NetworkPolicy") == []
        return
    allowed, wanted = edges(rendering, direction), listed(rendering, direction)
    assert {edge for edge in wanted if edge not in allowed} == set(), "on the list, and not allowed"
    # Two destinations with the same addresses and ports cannot be told apart in a policy: one that is on the list is enough.
    same = {frozenset(names) for names in named_outside(rendering, direction).values()}
    for edge in allowed - wanted:
        twins = [
            (edge[0], name, edge[2]) if direction == "Egress" else (name, edge[1], edge[2])
            for names in same
            if edge[direction == "Egress"] in names
            for name in names
        ]
        assert any(twin in wanted for twin in twins), f"allowed, and not on the list: {edge}"


def test_what_one_end_may_open_the_other_end_takes(rendering: Rendering) -> None:
    if rendering.values["networkPolicy"]["enabled"]:
        components = {pod.component for pod in pods(rendering)}
        inner = [
            {edge for edge in edges(rendering, way) if edge[0] in components and edge[1] in components} for way in ("Ingress", "Egress")
        ]
        assert inner[0] == inner[1]


def test_a_service_calls_only_whom_it_may(rendering: Rendering) -> None:
    """The addresses in the pods' variables are on the list too."""
    if not rendering.values["networkPolicy"]["enabled"]:
        return
    allowed = edges(rendering, "Egress")
    everything = pods(rendering)
    for pod in everything:
        for variable in pod.main.get("env", []):
            for other in everything:
                if f"//{service_name(other)}." in str(variable.get("value", "")) or f"@{service_name(other)}." in str(
                    variable.get("value", "")
                ):
                    assert any(edge[:2] == (pod.component, other.component) for edge in allowed), f"{pod.name}: {variable}"


def service_name(pod: Pod) -> str:
    return pod.owner["metadata"]["name"]


def test_every_line_of_the_list_says_why() -> None:
    lines = yaml.safe_load((CHART / "files/allow-list.yaml").read_text())["connections"]
    assert all(line["why"] for line in lines)
    assert len({(line["from"], line["to"], line.get("when")) for line in lines}) == len(lines)
