"""A channel whose certificates may change: new calls go over a connection made with the new ones, calls under way end on the old one.

gRPC for Python takes a client's certificates once, when a channel is made. So this is several channels one after the other, which look like
one: stubs are made of it once and stay good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio

from services.chassis.certificates import CertificateFiles, Certificates


class RotatingChannel:
    """Stands in for a `grpc.aio.Channel` where stubs are made and calls begun."""

    def __init__(self, files: CertificateFiles, connect: Callable[[Certificates], grpc.aio.Channel]) -> None:
        """`connect` makes a channel for certificates. Nothing is connected yet."""
        self._files = files
        self._connect = connect
        self._certificates = files.current()
        self._present = _Generation(connect(self._certificates))
        self._past: set[_Generation] = set()

    def unary_unary(self, path: str, *codecs: Any, **named: Any) -> _Method:
        """As gRPC's."""
        return _Method(self, "unary_unary", path, codecs, named)

    def unary_stream(self, path: str, *codecs: Any, **named: Any) -> _Method:
        """As gRPC's."""
        return _Method(self, "unary_stream", path, codecs, named)

    def stream_unary(self, path: str, *codecs: Any, **named: Any) -> _Method:
        """As gRPC's."""
        return _Method(self, "stream_unary", path, codecs, named)

    def stream_stream(self, path: str, *codecs: Any, **named: Any) -> _Method:
        """As gRPC's."""
        return _Method(self, "stream_stream", path, codecs, named)

    async def close(self) -> None:
        """Closes every connection; calls under way are cancelled."""
        await asyncio.gather(*(generation.channel.close() for generation in (self._present, *self._past)))
        self._past.clear()

    def begin(self, method: _Method, request: Any, options: dict[str, Any]) -> Any:
        """Begins a call with the certificates of now."""
        now = self._files.current()
        if now is not self._certificates:
            retired, self._present, self._certificates = self._present, _Generation(self._connect(now)), now
            self._past.add(retired)
            retired.retire(self._past.discard)
        return self._present.begin(method, request, options)


class _Method:
    """Stands in for what a stub calls."""

    def __init__(self, channel: RotatingChannel, kind: str, path: str, codecs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._channel = channel
        self.kind, self.path, self.codecs, self.named = kind, path, codecs, named
        # By this name gRPC's own have it, and spans are named after it.
        self._method = path.encode()

    def __call__(self, request: Any = None, **options: Any) -> Any:
        return self._channel.begin(self, request, options)


class _Generation:
    """One channel and the calls on it. Once retired, it closes when the last of them has ended; each has a deadline, so that comes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._methods: dict[_Method, Any] = {}
        self._calls: set[Any] = set()
        self._closed: Callable[[_Generation], None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def begin(self, method: _Method, request: Any, options: dict[str, Any]) -> Any:
        if method not in self._methods:
            self._methods[method] = getattr(self.channel, method.kind)(method.path, *method.codecs, **method.named)
        call = self._methods[method](request, **options)
        self._calls.add(call)
        call.add_done_callback(self._ended)
        return call

    def retire(self, closed: Callable[[_Generation], None]) -> None:
        self._closed = closed
        self._close_if_idle()

    def _ended(self, call: Any) -> None:
        self._calls.discard(call)
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closed is not None and not self._calls and self._closing is None:
            self._closing = asyncio.create_task(self._close(self._closed))

    async def _close(self, closed: Callable[[_Generation], None]) -> None:
        await self.channel.close()
        closed(self)
