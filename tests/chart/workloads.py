"""Finds what runs in a rendering: pods, their containers, their labels, whoever makes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rendering import Object, Rendering

COMPONENT = "app.kubernetes.io/component"


@dataclass(frozen=True)
class Pod:
    """A pod as one of the objects describes it."""

    owner: Object
    template: Object
    """`metadata` and `spec`."""

    @property
    def spec(self) -> Object:
        return self.template["spec"]

    @property
    def labels(self) -> dict[str, str]:
        return self.template["metadata"].get("labels", {})

    @property
    def name(self) -> str:
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"

    @property
    def component(self) -> str:
        return self.labels[COMPONENT]

    @property
    def is_test(self) -> bool:
        """Whether it runs once, for `helm test`."""
        return self.owner["kind"] == "Pod"

    def containers(self, *, init: bool = True) -> list[Object]:
        """Its containers, those that run before the others too."""
        return [*(self.spec.get("initContainers", []) if init else []), *self.spec["containers"]]

    @property
    def main(self) -> Object:
        """The first container, which is what the pod is for."""
        return self.spec["containers"][0]


def pods(rendering: Rendering) -> list[Pod]:
    """All pods of a rendering."""
    if rendering.made_of.name not in _found:
        _found[rendering.made_of.name] = [pod for each in rendering.objects for pod in _pods(each)]
    return _found[rendering.made_of.name]


_found: dict[str, list[Pod]] = {}


def _pods(owner: Object) -> Iterator[Pod]:
    spec = owner.get("spec", {})
    match owner["kind"]:
        case "Pod":
            yield Pod(owner, owner)
        case "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicaSet":
            yield Pod(owner, spec["template"])
        case "CronJob":
            yield Pod(owner, spec["jobTemplate"]["spec"]["template"])
        case "RayCluster":
            for group in (spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])):
                yield Pod(owner, group["template"])


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector, with `matchLabels` and `matchExpressions`, selects these labels. An empty one selects everything."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        value, values = labels.get(expression["key"]), expression.get("values", [])
        holds = {"In": value in values, "NotIn": value not in values, "Exists": value is not None, "DoesNotExist": value is None}
        if not holds[expression["operator"]]:
            return False
    return True


def port_numbers(container: Object) -> dict[str, int]:
    """A container's ports by name."""
    return {port["name"]: port["containerPort"] for port in container.get("ports", [])}


def environment(container: Object) -> dict[str, Object]:
    """A container's variables by name."""
    return {variable["name"]: variable for variable in container.get("env", [])}
