"""The Pod Security Standard "restricted", as Kubernetes' documentation words it (concepts/security/pod-security-standards).

Each function is one control; `violations` gives what breaks any of them. What the API server would refuse is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Spec = dict[str, Any]

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
CONFINED = {"RuntimeDefault", "Localhost"}


def violations(spec: Spec) -> list[str]:
    """What in a pod's spec breaks the standard, in words."""
    return [found for control in CONTROLS for found in control(spec)]


def _containers(spec: Spec) -> Iterator[Spec]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind, [])


def _contexts(spec: Spec) -> Iterator[tuple[str, Spec]]:
    """Who says it, and the security context."""
    yield "the pod", spec.get("securityContext", {})
    for container in _containers(spec):
        yield container["name"], container.get("securityContext", {})


def host_process(spec: Spec) -> Iterator[str]:
    for who, context in _contexts(spec):
        if context.get("windowsOptions", {}).get("hostProcess"):
            yield f"{who}: hostProcess"


def host_namespaces(spec: Spec) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name


def privileged(spec: Spec) -> Iterator[str]:
    for who, context in _contexts(spec):
        if context.get("privileged"):
            yield f"{who}: privileged"


def host_ports(spec: Spec) -> Iterator[str]:
    for container in _containers(spec):
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield f"{container['name']}: hostPort"


def host_of_probes(spec: Spec) -> Iterator[str]:
    for container in _containers(spec):
        hooks = container.get("lifecycle", {})
        handlers = [container.get(f"{kind}Probe", {}) for kind in ("startup", "readiness", "liveness")] + [
            hooks.get("preStop", {}),
            hooks.get("postStart", {}),
        ]
        if any(handler.get(how, {}).get("host") for handler in handlers for how in ("httpGet", "tcpSocket")):
            yield f"{container['name']}: a probe or hook that names a host"


def app_armor(spec: Spec) -> Iterator[str]:
    for who, context in _contexts(spec):
        if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in CONFINED:
            yield f"{who}: appArmorProfile"


def se_linux(spec: Spec) -> Iterator[str]:
    for who, context in _contexts(spec):
        options = context.get("seLinuxOptions", {})
        if options.get("type", "") not in SELINUX_TYPES or options.get("user") or options.get("role"):
            yield f"{who}: seLinuxOptions"


def proc_mount(spec: Spec) -> Iterator[str]:
    for who, context in _contexts(spec):
        if context.get("procMount", "Default") != "Default":
            yield f"{who}: procMount"


def sysctls(spec: Spec) -> Iterator[str]:
    for each in spec.get("securityContext", {}).get("sysctls", []):
        if each["name"] not in SYSCTLS:
            yield f"sysctl {each['name']}"


def volume_types(spec: Spec) -> Iterator[str]:
    for volume in spec.get("volumes", []):
        if not VOLUMES & volume.keys():
            yield f"volume {volume['name']}: none of the allowed kinds"


def privilege_escalation(spec: Spec) -> Iterator[str]:
    for container in _containers(spec):
        if container.get("securityContext", {}).get("allowPrivilegeEscalation") is not False:
            yield f"{container['name']}: allowPrivilegeEscalation"


def running_as_non_root(spec: Spec) -> Iterator[str]:
    inherited = spec.get("securityContext", {}).get("runAsNonRoot")
    for container in _containers(spec):
        if container.get("securityContext", {}).get("runAsNonRoot", inherited) is not True:
            yield f"{container['name']}: runAsNonRoot"


def running_as_root_user(spec: Spec) -> Iterator[str]:
    for who, context in _contexts(spec):
        if context.get("runAsUser") == 0:
            yield f"{who}: runAsUser 0"


def seccomp(spec: Spec) -> Iterator[str]:
    inherited = spec.get("securityContext", {}).get("seccompProfile", {}).get("type")
    if inherited is not None and inherited not in CONFINED:
        yield "the pod: seccompProfile"
    for container in _containers(spec):
        if container.get("securityContext", {}).get("seccompProfile", {}).get("type", inherited) not in CONFINED:
            yield f"{container['name']}: seccompProfile"


def capabilities(spec: Spec) -> Iterator[str]:
    for container in _containers(spec):
        found = container.get("securityContext", {}).get("capabilities", {})
        if "ALL" not in found.get("drop", []) or set(found.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{container['name']}: capabilities"


CONTROLS: tuple[Callable[[Spec], Iterator[str]], ...] = (
    host_process, host_namespaces, privileged, host_ports, host_of_probes, app_armor, se_linux, proc_mount, sysctls,
    volume_types, privilege_escalation, running_as_non_root, running_as_root_user, seccomp, capabilities,
)  # fmt: skip
