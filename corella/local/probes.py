"""Asks a process, given its pid, whether it can serve. A probe returns whether it can, and never raises."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

Probe = Callable[[int], Awaitable[bool]]

TIMEOUT_SECONDS = 5.0
"""Long enough for a machine whose cores are all at work."""


def grpc_health(port: int, service: str = "") -> Probe:
    """The standard health check says SERVING."""

    async def probe(_pid: int) -> bool:
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

    async def probe(_pid: int) -> bool:
        return await _redis(port, "PING") == b"+PONG"

    return probe


def shows_life(redis_port: int, prefix: str) -> Probe:
    """A process without a port of its own holds the key `{prefix}{host name}:{pid}`, which it must renew every few seconds."""

    async def probe(pid: int) -> bool:
        return await _redis(redis_port, "EXISTS", f"{prefix}{socket.gethostname()}:{pid}") == b":1"

    return probe


async def _redis(port: int, *command: str) -> bytes:
    """The first line of the answer to a command; empty when there is none."""
    words = [word.encode() for word in command]
    sent = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(sent)
                await writer.drain()
                return (await reader.readline()).strip()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


def port_open(port: int) -> Probe:
    """Somebody accepts connections."""

    async def probe(_pid: int) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return True
        except (OSError, TimeoutError):
            return False

    return probe


def working_pool(queue_port: int) -> Probe:
    """A worker without a port of its own: its pool of processes stands, and it holds a connection to its queue."""

    async def probe(pid: int) -> bool:
        try:
            worker = psutil.Process(pid)
            connected = any(
                c.raddr and c.raddr.port == queue_port and c.status == psutil.CONN_ESTABLISHED for c in worker.net_connections()
            )
            return connected and bool(worker.children())
        except psutil.Error:
            return False

    return probe
