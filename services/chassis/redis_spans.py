"""A Redis client that leaves a span for everything it asks the server, named as OpenTelemetry's conventions for Redis say.

    redis = TracedRedis.from_url("redis://127.0.0.1:6379/0")

A command is one span, and so is a pipeline. Keys and values enter none: they hold ids of people, conversations and documents. Work that
belongs to no trace (loops in the background, locks) leaves no spans: each would be a trace of its own, and hide those of requests.

https://opentelemetry.io/docs/specs/semconv/db/redis/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

from services.chassis.steps import detail

_DEFAULT_PORT = 6379
_script_names: dict[str, str] = {}
"""By the hash of their text, which is the same in every process."""


class TracedRedis(Redis):
    """`redis.asyncio.Redis`, traced."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with _span(self.connection_pool, _operation(args), _script(args)):
            return await super().execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> TracedPipeline:
        """As `Redis.pipeline`."""
        return TracedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class TracedPipeline(Pipeline):
    """`redis.asyncio.client.Pipeline`, traced: one span for all its commands."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        operations = [_operation(args) for args, _ in self.command_stack]
        name = "MULTI" if self.is_transaction or self.explicit_transaction else "PIPELINE"
        if len(set(operations)) == 1:
            name = f"{name} {operations[0]}"
        # A batch of one is no batch, by the conventions.
        size = {} if len(operations) == 1 else {"db.operation.batch.size": len(operations)}
        with _span(self.connection_pool, name, size):
            return await super().execute(raise_on_error)


@contextmanager
def _span(pool: ConnectionPool, operation: str, more: Mapping[str, str | int]) -> Iterator[None]:
    """Around one call."""
    if not trace.get_current_span().get_span_context().is_valid:
        yield
        return
    attributes = {"db.operation.name": operation, **_server(pool), **more}
    # That a script is not there is the client's own way to find out; it sends the script next.
    with detail(operation, attributes, kind=SpanKind.CLIENT, expected=(NoScriptError,)):
        yield


def _server(pool: ConnectionPool) -> dict[str, str | int]:
    given = pool.connection_kwargs
    attributes: dict[str, str | int] = {"db.system.name": "redis", "db.namespace": str(given.get("db") or 0)}
    if "path" in given:
        return attributes | {"server.address": given["path"]}
    return attributes | {"server.address": given.get("host", "localhost"), "server.port": int(given.get("port", _DEFAULT_PORT))}


def _operation(args: Sequence[Any]) -> str:
    return str(args[0])


def name_scripts(scripts: Mapping[str, AsyncScript]) -> None:
    """Has spans call these scripts by our names for them."""
    _script_names.update({script.sha: name for name, script in scripts.items()})


def _script(args: Sequence[Any]) -> dict[str, str | int]:
    """Which script is run: its name, or else the hash of its text, by which Redis knows it."""
    return {"db.stored_procedure.name": _script_names.get(str(args[1]), str(args[1]))} if args[0] == "EVALSHA" else {}
