"""The schema of the values: what is wrong is refused, in words that name the key."""

from __future__ import annotations

from typing import Any

import pytest
from rendering import CHART, PROFILES, ValueSet, helm, merged_values, template

pytestmark = pytest.mark.chart

# What is wrong, and what the error has to name.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"embeder": {}}, "embeder"),
    ({"embedder": {"replica": 2}}, "replica"),
    ({"embedder": {"replicas": "two"}}, "replicas"),
    ({"embedder": {"replicas": -1}}, "replicas"),
    ({"retriever": {"resource": {}}}, "resource"),
    ({"worker": {"autoscaling": {"kind": "magic"}}}, "kind"),
    ({"worker": {"autoscaling": {"maxReplica": 4}}}, "maxReplica"),
    ({"worker": {"autoscaling": {"kind": "cpu", "minReplicas": 5, "maxReplicas": 2}}}, "minReplicas"),
    ({"generator": {"gpu": {"enable": True}}}, "enable"),
    ({"generator": {"gpu": {"count": 0}}}, "count"),
    ({"generator": {"lora": {"maxRank": 12}}}, "maxRank"),
    ({"generator": {"openai": {"baseUrl": "http://vllm:8000/v1"}}}, "generator.openai.model"),
    ({"trainer": {"drainSeconds": "long"}}, "drainSeconds"),
    ({"milvus": {"mode": "cluster"}}, "mode"),
    ({"milvus": {"mode": "external"}}, "milvus.uri"),
    ({"valkey": {"enable": False}}, "enable"),
    ({"valkey": {"enabled": "no"}}, "enabled"),
    ({"tls": {"mode": "on"}}, "mode"),
    ({"tls": {"mode": "existingSecrets"}}, "tls.existingSecrets.embedder"),
    ({"tls": {"clientCertificatesFor": ["worker"]}}, "clientCertificatesFor"),
    ({"auth": {"oidc": {"issuer": "https://issuer.example"}}}, "auth.oidc.audience"),
    ({"auth": {"oidc": {"isuer": "https://issuer.example"}}}, "isuer"),
    ({"telemetry": {"sampleRatio": 2}}, "sampleRatio"),
    ({"telemetry": {"logLevel": "verbose"}}, "logLevel"),
    ({"telemetry": {"podMonitor": {"enable": True}}}, "enable"),
    ({"networkPolicy": {"destinations": {"internet": {"to": [], "ports": []}}}}, "internet"),
    ({"networkPolicy": {"client": []}}, "client"),
    ({"models": {"embedding": {"path": "x"}}}, "path"),
    ({"models": {"volume": {"kind": "hostPath"}}}, "kind"),
    ({"storage": {"blobs": {"size": "10 GB"}}}, "size"),
    ({"podSecurity": {"userId": 0}}, "userId"),
    ({"portBase": 70000}, "portBase"),
    ({"ray": {"enabled": True, "address": "ray://ray.example:10001"}}, "ray.address"),
    ({"ray": {"kubeRay": "sometimes"}}, "kubeRay"),
    ({"training": {"enabled": False}, "ray": {"enabled": True}}, "training.enabled"),
    ({"image": {"tags": "1"}}, "tags"),
    ({"secrets": {"existingSecret": ""}}, "existingSecret"),
    ({"dashboards": {"enable": True}}, "enable"),
    ({"alerts": {"enable": True}}, "enable"),
]


@pytest.mark.parametrize(("values", "key"), WRONG, ids=[f"{number}-{key}" for number, (_, key) in enumerate(WRONG)])
def test_what_is_wrong_is_refused_by_its_name(values: dict[str, Any], key: str) -> None:
    done = template(ValueSet("wrong", values=values))
    assert done.returncode != 0, "it was taken"
    assert key in done.stderr, done.stderr


def test_groups_cannot_be_opened_by_a_typing_mistake_anywhere() -> None:
    """Every group that values.yaml has is closed: a key that is not known is refused in each. Maps of free keys are named here."""
    free = {
        "settings", "labels", "annotations", "nodeSelector", "affinity", "podLabels", "podAnnotations", "resources", "requests", "limits",
        "digests",
        "strategy", "rollingUpdate", "matchLabels", "namespaceSelector", "podSelector", "items", "issuerRef", "datasource",
    }  # fmt: skip
    paths = [path for path in groups(merged_values(ValueSet("")), ()) if not free & set(path)]
    assert len(paths) > 30
    taken = [".".join(path) for path in paths if template(ValueSet("wrong", values=at(path, {"noSuchKey": 1}))).returncode == 0]
    assert taken == []


def groups(value: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The paths of all maps within the values."""
    if not isinstance(value, dict):
        return []
    return [path, *(found for key, inner in value.items() for found in groups(inner, (*path, key)))]


def at(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Values with one at a path."""
    for key in reversed(path):
        value = {key: value}
    return value


@pytest.mark.parametrize("profile", ["", *PROFILES])
def test_lint_finds_nothing(profile: str) -> None:
    options = ["-f", str(CHART / "examples" / profile / "values.yaml")] if profile else []
    done = helm("lint", "--strict", str(CHART), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
