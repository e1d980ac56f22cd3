"""Every object of every rendering is one that Kubernetes would take."""

from __future__ import annotations

import copy

import pytest
from rendering import Rendering, render
from schemas import OWN, VERSIONS, errors
from value_sets import VALUE_SETS
from workloads import pods

pytestmark = pytest.mark.chart


def test_there_are_value_sets_enough() -> None:
    assert len(VALUE_SETS) >= 40
    assert len({values.name for values in VALUE_SETS}) == len(VALUE_SETS)


def test_every_object_is_as_kubernetes_describes_it(rendering: Rendering) -> None:
    assert [error for version in VERSIONS for each in rendering.objects for error in errors(each, version)] == []


def test_pods_within_custom_resources_are_as_kubernetes_describes_pods(rendering: Rendering) -> None:
    for pod in pods(rendering):
        if pod.owner["kind"] == "RayCluster":
            metadata = {**pod.template["metadata"], "name": "pod"}
            assert errors({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod.spec}, VERSIONS[0]) == []


def test_every_schema_of_ours_is_used() -> None:
    used = {each["kind"] for values in VALUE_SETS for each in render(values).objects}
    assert {file.stem for file in OWN.glob("*.yaml")} <= used


def test_a_field_that_is_not_known_is_found() -> None:
    objects = render(VALUE_SETS[0]).objects
    [pod] = [copy.deepcopy(each) for each in objects if each["kind"] == "Pod"]
    pod["spec"]["containers"][0]["readinesProbe"] = {}
    assert "readinesProbe" in "".join(errors(pod, VERSIONS[0]))


def test_a_kind_without_a_schema_is_found() -> None:
    assert errors({"apiVersion": "example.com/v1", "kind": "Stranger", "metadata": {"name": "one"}}, VERSIONS[0])
