"""How a server tells that it is there and that it goes: to probes on a port of their own, to clients on theirs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from services.chassis.settings import ServerSettings
from services.chassis.telemetry import get_logger

log = get_logger(__name__)

_PROBES_AT_ONCE = 64
_PROBE_BYTES = 4096
_MOVE_SECONDS = 0.3
"""Between saying that this server goes and stopping: longer than a round trip to any client."""


@dataclass(frozen=True)
class Probes:
    """The port that answers health checks only, and what it says."""

    server: grpc.aio.Server
    health: HealthServicer


def make_health_server(settings: ServerSettings, health: HealthServicer) -> tuple[grpc.aio.Server, int]:
    """A server of health checks and nothing else, without TLS: a kubelet's gRPC probe has none. Bound but not started, and its port."""
    server = grpc.aio.server(
        maximum_concurrent_rpcs=_PROBES_AT_ONCE,
        options=[("grpc.max_receive_message_length", _PROBE_BYTES), ("grpc.so_reuseport", 0), ("grpc.max_connection_idle_ms", 60_000)],
    )
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    return server, server.add_insecure_port(target_of(settings.host, settings.health_port))


async def drain(settings: ServerSettings, server: grpc.aio.Server, health: HealthServicer, probes: Probes | None, *, at_once: bool) -> None:
    """Ends a server without losing a call: says so to probes, later to clients, and waits for the calls under way."""
    if probes is not None:
        await probes.health.enter_graceful_shutdown()
    if settings.drain_delay_seconds and not at_once:
        # Whoever reads endpoints elsewhere (DNS, a proxy) learns a moment later that this one goes, and needs it until then.
        log.info("leaving", seconds=settings.drain_delay_seconds)
        await asyncio.sleep(settings.drain_delay_seconds)
    log.info("draining", seconds=settings.drain_seconds)
    # Channels that watch send nothing more. A call that arrived in the moment of `stop` would be CANCELLED, and lost.
    await health.enter_graceful_shutdown()
    await asyncio.sleep(_MOVE_SECONDS)
    await server.stop(settings.drain_seconds)
    if probes is not None:
        await probes.server.stop(None)


def target_of(host: str, port: int) -> str:
    """What gRPC listens on; IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
