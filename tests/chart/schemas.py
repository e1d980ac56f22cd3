"""Validates objects offline: Kubernetes' own by its published schemas, others by small ones of ours.

Kubernetes' schemas come with the package kubernetes-validate, in their strict form: a field they do not know is refused. Its own `validate`
reads 1.5 MB of definitions for every object; here a validator is made once for each kind. Custom resources have no schema offline: for them
own_schemas/ describes the fields that the chart uses, as their projects document them, and refuses any other.
"""

from __future__ import annotations

import functools
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

OWN = Path(__file__).parent / "own_schemas"
VERSIONS = ("1.30", "1.34", "1.37")
"""The oldest that Chart.yaml admits, the one that the committed renderings are for, and the newest that has schemas."""


@functools.cache
def _folder(version: str) -> Any:
    return resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"


@functools.cache
def _definitions(version: str) -> dict[str, Any]:
    return json.loads((_folder(version) / "_definitions.json").read_text())


@functools.cache
def _kubernetes(kind: str, api_version: str, version: str) -> Draft202012Validator | None:
    # apps/v1 -> apps-v1, networking.k8s.io/v1 -> networking-v1
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    file = _folder(version) / f"{kind.lower()}-{group}.json"
    if not file.is_file():
        return None
    registry = Resource.from_contents(_definitions(version)) @ Registry()
    return Draft202012Validator(json.loads(file.read_text()), registry=registry)


@functools.cache
def _own(kind: str, api_version: str) -> Draft202012Validator | None:
    file = OWN / f"{kind}.yaml"
    if not file.exists():
        return None
    schema = yaml.safe_load(file.read_text())
    return Draft202012Validator(schema) if schema["properties"]["apiVersion"]["const"] == api_version else None


_sound: set[str] = set()


def errors(each: dict[str, Any], version: str) -> list[str]:
    """What is wrong with an object, in words. Many renderings have the same object in them; it is looked at once."""
    text = version + json.dumps(each, sort_keys=True)
    if text in _sound:
        return []
    name = f"{each['kind']}/{each['metadata']['name']}"
    validator = _own(each["kind"], each["apiVersion"]) or _kubernetes(each["kind"], each["apiVersion"], version)
    if validator is None:
        return [f"{name}: there is no schema of {each['kind']} in {each['apiVersion']} for Kubernetes {version}"]
    found = [f"{name}, {'.'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in validator.iter_errors(each)]
    if not found:
        _sound.add(text)
    return found
