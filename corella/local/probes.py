"""Asks a process whether it can serve. A probe returns whether it can, and never raises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

Probe = Callable[[], Awaitable[bool]]

TIMEOUT_SECONDS = 5.0
"""Long enough for a machine whose cores are all at work."""


def grpc_health(port: int, service: str = "") -> Probe:
    """The standard health check says SERVING."""

    async def probe() -> bool:
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                request = health_pb2.HealthCheckRequest(service=service)
                answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_SECONDS)
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
        except grpc.aio.AioRpcError:
            return False

    return probe


def redis_ping(port: int) -> Probe:
    """A Redis-protocol server answers PONG, which it does not while it still reads its files."""

    async def probe() -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(b"PING\r\n")
                    await writer.drain()
                    return (await reader.readline()).strip() == b"+PONG"
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    return probe


def port_open(port: int) -> Probe:
    """Somebody accepts connections."""

    async def probe() -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return True
        except (OSError, TimeoutError):
            return False

    return probe


def celery_worker(broker_url: str) -> Probe:
    """A Celery worker answers a ping over its queue."""

    async def probe() -> bool:
        return await asyncio.to_thread(_ping_worker, broker_url)

    return probe


def _ping_worker(broker_url: str) -> bool:
    # Imported here: only the supervisor of a worker needs it.
    from celery import Celery
    from kombu.exceptions import KombuError

    try:
        with Celery(broker=broker_url, set_as_current=False) as app:
            return bool(app.control.ping(timeout=1.0, limit=1))
    except (OSError, KombuError):
        return False
