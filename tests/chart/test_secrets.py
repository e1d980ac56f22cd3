"""Nothing secret is in the chart: what is secret stays in Secrets, which it names and does not make."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rendering import Rendering
from workloads import environment, pods

pytestmark = pytest.mark.chart

SECRET_NAME = re.compile(r"(PASSWORD|TOKEN|SECRET|API_?KEY|CREDENTIAL|PRIVATE_?KEY)S?$", re.IGNORECASE)
# What such a variable may hold: a reference, a path, or a number of tokens of text.
HARMLESS = re.compile(r"\$\([A-Z_]+\)|/[\w./-]+|\d{1,6}|")
IN_URL = re.compile(r"[a-z][a-z0-9+]*://[^\s/@]*:(?!\$\()[^\s/@]+@")
LOOKS_SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}|\bhf_[A-Za-z0-9]{20,}|"
    r"\beyJ[\w-]{10,}\.[\w-]{10,}\.|"
    r"(?i:password|passwd|secret|api[_-]?key)\s*[:=]\s*['\"]?(?!\$|/|\s|\{|true\b|false\b)[^\s'\"]{6,}"
)


def test_no_secret_is_rendered(rendering: Rendering) -> None:
    assert rendering.of_kind("Secret") == []


def test_variables_hold_references_and_no_secrets(rendering: Rendering) -> None:
    for pod in pods(rendering):
        for container in pod.containers():
            for name, variable in environment(container).items():
                value = str(variable.get("value", ""))
                assert not IN_URL.search(value), f"{pod.name}, {name}"
                if SECRET_NAME.search(name):
                    assert HARMLESS.fullmatch(value), f"{pod.name}, {name}"


def test_nothing_looks_like_a_secret(rendering: Rendering) -> None:
    for each in rendering.objects:
        if each["kind"] == "ConfigMap" and "dashboard" in str(each["metadata"].get("labels", {})):
            continue  # texts for people
        for text in texts(each):
            assert not LOOKS_SECRET.search(text), f"{each['kind']}/{each['metadata']['name']}: {LOOKS_SECRET.search(text)}"


@pytest.mark.parametrize("text", ["redis://:hunter22@valkey:6379/0", "http://user:pass@host"])
def test_a_password_in_a_url_is_found(text: str) -> None:
    assert IN_URL.search(text)


@pytest.mark.parametrize("text", ["password: hunter22", "-----BEGIN RSA PRIVATE KEY-----", "hf_" + "a" * 30, "api_key='0123456789'"])
def test_what_looks_like_a_secret_is_found(text: str) -> None:
    assert LOOKS_SECRET.search(text)


def test_a_pod_sees_no_more_of_a_secret_than_it_needs(rendering: Rendering) -> None:
    """Each key by name, in files that only its group may read; the token of one service is not in another's pod."""
    named = rendering.values["secrets"]["existingSecret"]
    for pod in pods(rendering):
        keys = {item["key"] for volume in pod.spec.get("volumes", []) for item in volume.get("secret", {}).get("items", [])}
        for volume in pod.spec.get("volumes", []):
            if "secret" in volume:
                assert volume["secret"].get("defaultMode") == 0o440, f"{pod.name}, {volume['name']}"
                assert volume["secret"]["secretName"] != named or volume["secret"].get("items"), f"{pod.name} sees all of {named}"
        own = {"retriever": "retriever", "worker": "retriever", "generator": "generator", "trainer": "trainer", "trainer-worker": "trainer"}
        tokens = {key for key in keys if key in {"retriever-token", "generator-token", "trainer-token", "admin-token"}}
        allowed = {"admin-token"} if pod.is_test else {f"{own[pod.component]}-token"} if pod.component in own else set()
        assert tokens <= allowed, pod.name


def test_secrets_are_mounted_read_only(rendering: Rendering) -> None:
    for pod in pods(rendering):
        secret = {volume["name"] for volume in pod.spec.get("volumes", []) if "secret" in volume}
        for container in pod.containers():
            assert all(mount.get("readOnly") for mount in container.get("volumeMounts", []) if mount["name"] in secret), pod.name


def texts(value: Any) -> list[str]:
    """All strings within a value, with the key before each, as a reader of the YAML sees them."""
    if isinstance(value, dict):
        return [line for key, inner in value.items() for line in ([f"{key}: {inner}"] if isinstance(inner, str) else texts(inner))]
    if isinstance(value, list):
        return [line for inner in value for line in texts(inner)]
    return [str(value)]
