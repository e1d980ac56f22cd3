"""The settings that a container's process has: its variables, as Kubernetes makes them, and the class that reads them."""

from __future__ import annotations

import os
import re
from typing import Any
from unittest.mock import patch

from pydantic import BaseModel
from rendering import Rendering
from workloads import Pod, environment, pods

from services.chassis.settings import ServiceSettings
from services.embedder.settings import EmbedderSettings
from services.generator.settings import GeneratorSettings
from services.retriever.settings import RetrieverSettings
from services.trainer.settings import TrainerSettings

SETTINGS: dict[str, type[ServiceSettings]] = {
    "services.embedder": EmbedderSettings,
    "services.generator": GeneratorSettings,
    "services.retriever": RetrieverSettings,
    "services.retriever.worker": RetrieverSettings,
    "services.retriever.beat": RetrieverSettings,
    "services.trainer": TrainerSettings,
    "services.trainer.worker": TrainerSettings,
    "services.trainer.beat": TrainerSettings,
}
SERVERS = {"services.embedder", "services.generator", "services.retriever", "services.trainer"}
# What secrets hold, as far as a variable is made of them.
SECRETS = {"redis-password": "5ec4e7", "redis-url": "rediss://:5ec4e7@redis.example:6379/0", "milvus-password": "5ec4e7"}
CLOSING_SECONDS = 5
"""What is left, of the time a pod has to end, for closing connections and sending the last spans."""


def module_of(container: dict[str, Any]) -> str | None:
    """What `python -m` runs."""
    command = container.get("command", [])
    return command[2] if command[:2] == ["python", "-m"] else None


def services(rendering: Rendering) -> list[tuple[Pod, dict[str, Any], str]]:
    """The containers that read settings, and what they run."""
    found = [(pod, container, module_of(container)) for pod in pods(rendering) for container in pod.containers(init=False)]
    return [(pod, container, module) for pod, container, module in found if module in SETTINGS]


def values_of(container: dict[str, Any]) -> dict[str, str]:
    """The environment as Kubernetes makes it: references filled in, `$(NAME)` replaced by variables that stand before."""
    made: dict[str, str] = {}
    for variable in container.get("env", []):
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            value = SECRETS[source["secretKeyRef"]["key"]]
        elif "resourceFieldRef" in source:
            name = source["resourceFieldRef"]["resource"]
            value = str(container["resources"][name.split(".")[0]][name.split(".")[1]])
        elif "fieldRef" in source:
            value = "pod-1"
        else:
            value = variable.get("value", "")
        # One that does not stand before is left as it is.
        made[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda found: made.get(found[1], found[0]), value)
    return made


def settings_of(container: dict[str, Any], module: str) -> ServiceSettings:
    """The settings that this container's process has."""
    with patch.dict(os.environ, values_of(container), clear=True):
        return SETTINGS[module]()


def field_of(kind: type[BaseModel], path: list[str]) -> bool:
    """Whether a path of names, as a variable has it, leads to a field."""
    name, *rest = path
    fields = {each.lower(): field for each, field in kind.model_fields.items()}
    if name not in fields:
        return False
    annotation = fields[name].annotation
    if not rest:
        return True
    return isinstance(annotation, type) and issubclass(annotation, BaseModel) and field_of(annotation, rest)


def unknown(container: dict[str, Any], module: str) -> list[str]:
    """Variables of Corella's that name no setting of this process."""
    prefix = SETTINGS[module].model_config["env_prefix"]
    mine = [name for name in environment(container) if name.startswith("CORELLA_")]
    return [name for name in mine if not (name.startswith(prefix) and field_of(SETTINGS[module], name[len(prefix) :].lower().split("__")))]
