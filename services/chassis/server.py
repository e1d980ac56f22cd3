"""Runs a service: builds it, listens, reports health, drains on SIGTERM.

    asyncio.run(serve("embedder", settings, build, add_EmbedderServiceServicer_to_server, "corella.v1.EmbedderService", rules=RULES))

`build(settings, lifecycle)` is the service's own async context manager; it yields the servicer. The port opens only when it is ready,
so whoever can connect can be served.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from services.chassis.authentication import Authenticator
from services.chassis.draining import Probes, drain, make_health_server, target_of
from services.chassis.interceptor import CallInterceptor
from services.chassis.roles import Rules
from services.chassis.settings import ServerSettings, ServiceSettings
from services.chassis.telemetry import get_logger, setup_telemetry
from services.chassis.watched_files import FilesRefused

log = get_logger(__name__)
_MAX_METADATA_BYTES = 160 * 1024

_BIND_AGAIN_SECONDS = 0.5
_AGE_GRACE_SECONDS = 5.0
T = TypeVar("T")


class Lifecycle:
    """Lets a part of a service say that the process must end."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        self.failure: str | None = None

    def stop(self) -> None:
        """Asks for an orderly end."""
        self._ended.set()

    def fail(self, reason: str) -> None:
        """Asks for the end because something is broken that only a restart mends. The process drains, then exits with status 1."""
        log.error("service_failed", reason=reason)
        self.failure = self.failure or reason
        self._ended.set()

    async def ended(self) -> None:
        """Returns when the process is to end."""
        await self._ended.wait()


Build = Callable[[Any, Lifecycle], AbstractAsyncContextManager[Any]]


async def serve(
    service: str,
    settings: ServiceSettings,
    build: Build,
    add_servicer: Callable[[Any, Any], None],
    full_name: str,
    *,
    rules: Rules,
    expose_process_registry: bool = False,
) -> int:
    """Runs until SIGTERM, SIGINT or a failure. Returns the exit status.

    `rules` say who may call what; other services than `full_name` that `add_servicer` adds are found by them.
    `expose_process_registry`: see `setup_telemetry`.
    """
    shutdown_telemetry = setup_telemetry(service, settings.telemetry, expose_process_registry=expose_process_registry)
    lifecycle = Lifecycle()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lifecycle.stop)
    try:
        async with build(settings, lifecycle) as servicer:
            server, health, port = await _bound(
                settings.server, lambda: make_server(settings.server, lambda s: add_servicer(servicer, s), full_name, rules)
            )
            _keep_what_is_there()
            await server.start()
            probes = await _open_to_probes(settings.server, ("", *_services(full_name, rules)))
            for name in ("", *_services(full_name, rules)):
                await health.set(name, health_pb2.HealthCheckResponse.SERVING)
            log.info("serving", host=settings.server.host, port=port)
            await lifecycle.ended()
            await drain(settings.server, server, health, probes, at_once=lifecycle.failure is not None)
        log.info("stopped", failure=lifecycle.failure)
        return 0 if lifecycle.failure is None else 1
    except FilesRefused as error:
        log.error("not_started", problem=str(error))
        return 1
    finally:
        shutdown_telemetry()


def _keep_what_is_there() -> None:
    """Takes what was made until now out of garbage collections: libraries and models, which never become garbage.

    A full collection of the embedder, one in 12 s under load, takes 0.25 s in which all calls stand still; after this it takes 0.01 s.
    """
    gc.collect()
    gc.freeze()


async def _open_to_probes(settings: ServerSettings, names: Iterable[str]) -> Probes | None:
    if not settings.health_port:
        return None
    health = HealthServicer()
    for name in names:
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    server, port = await _bound(settings, lambda: make_health_server(settings, health))
    await server.start()
    log.info("open_to_probes", host=settings.host, port=port)
    return Probes(server, health)


async def _bound(settings: ServerSettings, bind: Callable[[], T]) -> T:
    """What `bind` returns, tried for a while: any program's outgoing connection may hold a port of the ephemeral range for a moment."""
    ends_at = time.monotonic() + settings.bind_seconds
    while True:
        try:
            return bind()
        except RuntimeError as error:  # the only kind gRPC has for it
            if time.monotonic() >= ends_at:
                raise
            log.warning("port_taken", host=settings.host, port=settings.port, error=str(error))
            await asyncio.sleep(_BIND_AGAIN_SECONDS)


def make_server(
    settings: ServerSettings, add_servicers: Callable[[grpc.aio.Server], None], full_name: str, rules: Rules
) -> tuple[grpc.aio.Server, HealthServicer, int]:
    """A server with health and reflection that is bound but not started, its health servicer, and its port."""
    server = grpc.aio.server(
        interceptors=[CallInterceptor(Authenticator(settings.auth), rules, settings.max_deadline_seconds)],
        maximum_concurrent_rpcs=settings.max_concurrent_calls,
        options=[
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            # A person of hundreds of groups has a long token, and is sent along as long metadata.
            ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", 2 * _MAX_METADATA_BYTES),
            ("grpc.keepalive_time_ms", int(settings.keepalive_seconds * 1000)),
            ("grpc.keepalive_timeout_ms", 20_000),
            # Clients may test a connection as often as every 10 s, also one without calls.
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            *_connection_age(settings),
            # Two processes on one port would share its calls unnoticed.
            ("grpc.so_reuseport", 0),
        ],
    )
    add_servicers(server)
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for method in methods_without_rule(_services(full_name, rules), rules):
        log.error("method_without_rule", method=method, effect="every call of it is refused")
    standard = (health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    names = (*_services(full_name, rules), *standard)
    reflection.enable_server_reflection(names, server)
    target = target_of(settings.host, settings.port)
    if settings.tls.certificate_file is None:
        return server, health, server.add_insecure_port(target)
    # Imported here: certificates are for clusters, and a local start does without.
    from services.chassis.certificates import server_credentials

    return server, health, server.add_secure_port(target, server_credentials(settings.tls))


def _connection_age(settings: ServerSettings) -> list[tuple[str, Any]]:
    if not settings.max_connection_age_seconds:
        return []
    return [
        ("grpc.max_connection_age_ms", int(settings.max_connection_age_seconds * 1000)),
        # No call is longer than its deadline, so none is cut.
        ("grpc.max_connection_age_grace_ms", int((settings.max_deadline_seconds + _AGE_GRACE_SECONDS) * 1000)),
    ]


def methods_without_rule(services: Iterable[str], rules: Rules) -> list[str]:
    """Methods that the contracts have and nobody may call: a mistake in `rules`. Services whose contract is not loaded are passed over."""
    found: list[str] = []
    for service in services:
        try:
            methods = descriptor_pool.Default().FindServiceByName(service).methods
        except KeyError:
            continue
        found += [name for name in (f"{service}/{method.name}" for method in methods) if name not in rules]
    return found


def _services(full_name: str, rules: Rules) -> list[str]:
    return list(dict.fromkeys((full_name, *(method.partition("/")[0] for method in rules))))
