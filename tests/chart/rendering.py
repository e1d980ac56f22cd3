"""Runs helm: one rendering for each value set and session."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/corella"
TOOLS = ROOT / ".venv/tools"
PROFILES = ("laptop", "one-gpu", "cluster")
KUBE_VERSION = "1.34"
HELM_VERSION = "v4.1.4"
"""As scripts/chart_tools.sh has it."""

Object = dict[str, Any]


@dataclass(frozen=True)
class ValueSet:
    """What helm is told."""

    name: str
    profile: str = ""
    """One of `PROFILES`, or empty: the chart's own values."""
    values: dict[str, Any] = field(default_factory=dict, hash=False)
    release: str = "corella"
    namespace: str = "corella"
    kube_version: str = KUBE_VERSION
    api_versions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rendering:
    """What helm made of it."""

    made_of: ValueSet
    text: str
    objects: tuple[Object, ...]

    def of_kind(self, *kinds: str) -> list[Object]:
        """The objects of these kinds, in their order."""
        return [each for each in self.objects if each["kind"] in kinds]

    @functools.cached_property
    def values(self) -> dict[str, Any]:
        """The values as helm merges them."""
        return merged_values(self.made_of)


def tool(name: str) -> str:
    """The path of a tool. Fails, never skips, where it is missing."""
    found = TOOLS / name if (TOOLS / name).exists() else shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: run `make chart-tools`, which fetches it into .venv/tools.", pytrace=False)
    return str(found)


def helm(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs helm, away from anybody's own configuration of it."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "HELM_CACHE_HOME": "/nonexistent",
        "HELM_CONFIG_HOME": "/nonexistent",
    }
    return subprocess.run([tool("helm"), *arguments], input=text, capture_output=True, text=True, env=environment, timeout=60, check=False)


def template(values: ValueSet) -> subprocess.CompletedProcess[str]:
    """`helm template`, whatever comes of it."""
    arguments = ["template", values.release, str(CHART), "--namespace", values.namespace, "--kube-version", values.kube_version]
    arguments += [part for version in values.api_versions for part in ("--api-versions", version)]
    if values.profile:
        arguments += ["-f", str(CHART / "examples" / values.profile / "values.yaml")]
    if values.values:
        arguments += ["-f", "-"]
    return helm(*arguments, text=yaml.safe_dump(values.values) if values.values else None)


_rendered: dict[str, Rendering] = {}


def render(values: ValueSet) -> Rendering:
    """The rendering of a value set; the test fails with helm's words where there is none."""
    if values.name not in _rendered:
        done = template(values)
        assert done.returncode == 0, f"helm template, {values.name}: {done.stderr}"
        _rendered[values.name] = Rendering(values, done.stdout, objects(done.stdout))
    return _rendered[values.name]


def objects(text: str) -> tuple[Object, ...]:
    """The objects of a stream of YAML documents."""
    return tuple(each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each)


def merged_values(values: ValueSet) -> dict[str, Any]:
    """Maps are merged, anything else is replaced, as helm does it."""
    found = _file_values("")
    if values.profile:
        found = _merge(found, _file_values(values.profile))
    return _merge(found, values.values)


@functools.cache
def _file_values(profile: str) -> dict[str, Any]:
    path = CHART / "examples" / profile / "values.yaml" if profile else CHART / "values.yaml"
    return yaml.safe_load(path.read_text()) or {}


def _merge(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return {key: _merge(under[key], over[key]) if key in under and key in over else over.get(key, under.get(key)) for key in under | over}
