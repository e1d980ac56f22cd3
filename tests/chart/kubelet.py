"""Runs the pods of a rendering as processes of this machine, as a kubelet would run their containers.

What is the same as in a cluster: commands, arguments, environment (nothing is inherited), secrets, configuration, init containers, probes,
restarts, and the signal and the time with which a pod ends. What stands for something else:

    names       `<service>.<namespace>.svc.<domain>` is rewritten to 127.0.0.1. Ports stay as they are: each component has its own.
    mounts      a process has no file system of its own, so each mount path is rewritten to the volume's folder, wherever the environment,
                the command, the arguments or a mounted file name it; and TMPDIR says where /tmp is. /dev/shm stays the machine's.
    PATH        the environment's `bin`, with its `python` and `corella`, and the Valkey that comes in a package
    limits      are not enforced; the number of cores that a pod may use is told to it

A claim or an `emptyDir` is a folder; a claim that several pods mount is one folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from socket import create_connection

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pod_view import Place, PodView
from rendering import Rendering
from workloads import Pod, pods, port_numbers

_RESTART_SECONDS = 1.0


@dataclass
class Node:
    """This machine, as the pods see it."""

    place: Place
    running: list[Container] = field(default_factory=list)

    def start(self, pod: Pod) -> None:
        """Begins a pod; its init containers run one after the other, beside those of other pods."""
        container = Container(self, pod)
        self.running.append(container)
        container.thread.start()

    def wait_until_ready(self) -> None:
        """Until every pod is ready, each within the time its startup probe gives it. Fails with the end of the log of one that is not."""
        began = time.monotonic()
        for container in self.running:
            seconds = container.startup_seconds
            ends_at = began + seconds
            while not container.is_ready():
                assert not container.failure, f"{container.name}: {container.failure}\n{container.log_end()}"
                assert time.monotonic() < ends_at, f"{container.name} is not ready after {seconds} s\n{container.log_end()}"
                time.sleep(0.5)

    def stop(self) -> dict[str, int | None]:
        """Ends every pod as Kubernetes does. The exit status of each; None: it had to be killed."""
        for container in self.running:
            container.ask_to_end()
        return {container.name: container.wait_for_end() for container in self.running}

    def run(self, pod: Pod, seconds: float) -> subprocess.CompletedProcess[str]:
        """Runs a pod that ends by itself."""
        view = PodView(self.place, pod)
        command = view.command(pod.main)
        return subprocess.run(
            command, env=view.environment(pod.main), cwd=view.folder, capture_output=True, text=True, timeout=seconds, check=False
        )


class Container:
    """The containers of one pod: those that run first, then its own, begun again when it ends."""

    def __init__(self, node: Node, pod: Pod) -> None:
        self.name, self._pod, self._view = pod.component, pod, PodView(node.place, pod)
        self.log = node.place.folder / f"{pod.component}.log"
        self.failure = ""
        self.restarts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()
        self.thread = threading.Thread(target=self._keep, name=pod.component, daemon=True)

    def _keep(self) -> None:
        with self.log.open("ab") as log:
            for first in self._pod.spec.get("initContainers", []):
                done = subprocess.run(
                    self._view.command(first), env=self._view.environment(first), cwd=self._view.folder, stdout=log, stderr=log, check=False
                )
                if done.returncode:
                    self.failure = f"its init container {first['name']} ended with {done.returncode}"
                    return
            while not self._ending.is_set():
                self.process = subprocess.Popen(
                    self._view.command(self._pod.main),
                    env=self._view.environment(self._pod.main),
                    cwd=self._view.folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                self.process.wait()
                if not self._ending.wait(_RESTART_SECONDS):
                    self.restarts += 1

    @property
    def startup_seconds(self) -> float:
        """How long a kubelet would wait for it."""
        probe = self._pod.main["startupProbe"]
        return float(probe["failureThreshold"] * probe.get("periodSeconds", 10))

    def is_ready(self) -> bool:
        """Whether the readiness probe succeeds."""
        if self.process is None or self.process.poll() is not None:
            return False
        probe, ports = self._pod.main["readinessProbe"], port_numbers(self._pod.main)
        try:
            if "grpc" in probe:
                return healthy(ports.get(probe["grpc"]["port"], probe["grpc"]["port"]), probe["grpc"].get("service", ""))
            if "httpGet" in probe:
                port = ports.get(probe["httpGet"]["port"], probe["httpGet"]["port"])
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{probe['httpGet']['path']}", timeout=5) as answer:
                    return bool(answer.status == 200)
            if "tcpSocket" in probe:
                with create_connection(("127.0.0.1", ports.get(probe["tcpSocket"]["port"], probe["tcpSocket"]["port"])), 2):
                    return True
            command = [self._view.rewrite(part, self._pod.main) for part in probe["exec"]["command"]]
            return (
                subprocess.run(command, env=self._view.environment(self._pod.main), capture_output=True, timeout=10, check=False).returncode
                == 0
            )
        except (OSError, subprocess.TimeoutExpired):
            return False

    def ask_to_end(self) -> None:
        """SIGTERM, as the kubelet sends it."""
        self._ending.set()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait_for_end(self) -> int | None:
        """The exit status, within the time the pod has; else it is killed with all it started."""
        if self.process is None:
            return 0
        try:
            return self.process.wait(self._pod.spec["terminationGracePeriodSeconds"])
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return None

    def log_end(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else ""


def healthy(port: int, service: str) -> bool:
    """The standard health check, as the kubelet makes it: without encryption."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def long_running(rendering: Rendering) -> list[Pod]:
    """The pods that run for good."""
    return [pod for pod in pods(rendering) if not pod.is_test]
