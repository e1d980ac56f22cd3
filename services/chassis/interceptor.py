"""What happens around every call, of all four kinds: authentication, role, decoding, deadline, span, metrics, errors.

Handlers raise `CorellaError`s and return messages; nothing here knows what they do. Health and reflection pass through with
authentication only (health without), because their handlers write to the context themselves and have no deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from services.chassis import acting, deadline, identity
from services.chassis.authentication import Authenticator
from services.chassis.errors import CorellaError, DeadlineExceeded, InvalidArgument, PermissionDenied, Unimplemented
from services.chassis.identity import Caller
from services.chassis.roles import Role, Rules, holds
from services.chassis.telemetry import attached, captures_text, current_trace_id, get_logger
from services.chassis.telemetry_rpc import refused, served

log = get_logger(__name__)

_OPEN_TO_ALL = ("/grpc.health.",)
_STANDARD = ("/grpc.health.", "/grpc.reflection.")


@dataclass(frozen=True)
class _Undecodable:
    """Stands in for a request whose bytes are not a message of the right type."""

    detail: str


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of a server. `max_deadline_seconds` bounds calls that bring no deadline or a longer one.

    A method is called by those with the role that `rules` ask for; a method without a rule by nobody.
    """

    def __init__(self, authenticator: Authenticator, rules: Rules, max_deadline_seconds: float) -> None:
        self._authenticator = authenticator
        self._rules = rules
        self._max_deadline_seconds = max_deadline_seconds

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        started = time.perf_counter()
        method = handler_call_details.method
        metadata = handler_call_details.invocation_metadata or ()
        if method.startswith(_OPEN_TO_ALL):
            return handler
        try:
            peer = await self._authenticator.authenticate(metadata)
            if method.startswith(_STANDARD):
                return handler
            who = acting.effective(peer, [value for key, value in metadata if key.lower() == acting.CALLER_KEY])
            self._check_role(method.removeprefix("/"), peer, who)
        except CorellaError as error:
            refused(method.removeprefix("/"), error.code, time.perf_counter() - started)
            return _refusing(handler, error)
        # The token and the person have done their work; nothing further down can let them slip into a log or a span.
        rest = {key: value for key, value in metadata if key.lower() not in ("authorization", acting.CALLER_KEY)}
        return self._wrapped(handler, method.removeprefix("/"), rest, who)

    def _check_role(self, method: str, peer: Caller, who: Caller) -> None:
        wanted = self._rules.get(method)
        if wanted is None:
            raise PermissionDenied(f"{method} has no rule that says who may call it.", reason="RULE_MISSING")
        # Which services a service may use does not depend on the person it acts for.
        if not holds(peer.roles if wanted is Role.SERVICE else who.roles, wanted):
            raise PermissionDenied(f"{method} asks for the role `{wanted}`.", reason="ROLE_MISSING", role=wanted)

    def _wrapped(self, handler: Any, method: str, metadata: dict[str, Any], who: Caller) -> grpc.RpcMethodHandler:
        decode = handler.request_deserializer

        def safe_decode(raw: bytes) -> Any:
            # gRPC itself would answer INTERNAL, as if the server were at fault.
            try:
                return decode(raw)
            except Exception as error:
                return _Undecodable(str(error))

        def request_in(request: Any) -> Any:
            return _checked_stream(request) if handler.request_streaming else _checked(request)

        if handler.response_streaming:
            behave = handler.unary_stream or handler.stream_stream

            async def streaming(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
                async with self._around(context, method, metadata, who):
                    async for response in behave(request_in(request), context):
                        yield response

            make = grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
            return make(streaming, safe_decode, handler.response_serializer)

        behave = handler.unary_unary or handler.stream_unary

        async def single(request: Any, context: grpc.aio.ServicerContext) -> Any:
            async with self._around(context, method, metadata, who):
                return await behave(request_in(request), context)

        make = grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        return make(single, safe_decode, handler.response_serializer)

    @asynccontextmanager
    async def _around(self, context: grpc.aio.ServicerContext, method: str, metadata: dict[str, Any], who: Caller) -> AsyncIterator[None]:
        given = context.time_remaining()
        allowed = min(given if given is not None else self._max_deadline_seconds, self._max_deadline_seconds)
        deadline.set_remaining(allowed)
        identity.set_current(who)
        text_metadata = {key: value for key, value in metadata.items() if isinstance(value, str)}
        with attached(text_metadata), served(method, context) as call:
            try:
                try:
                    async with asyncio.timeout(allowed) as limit:
                        yield
                except TimeoutError as error:
                    if not limit.expired():
                        raise
                    raise DeadlineExceeded(f"The call took longer than {allowed:.3g} s.") from error
            except CorellaError as error:
                call.code = error.code
                call.span.set_attribute("corella.error.reason", error.reason)
                if call.code is grpc.StatusCode.INTERNAL:
                    log.error("call_failed", method=method, reason=error.reason, error=error.message)
                await context.abort_with_status(error.to_grpc_status())
            except (asyncio.CancelledError, GeneratorExit):
                call.code = grpc.StatusCode.CANCELLED
                raise
            except NotImplementedError:
                # What the generated base class raises for a method that a servicer leaves out.
                call.code = grpc.StatusCode.UNIMPLEMENTED
                missing = Unimplemented(f"{method} is not implemented in this version.")
                await context.abort_with_status(missing.to_grpc_status())
            except Exception as error:
                call.code = grpc.StatusCode.INTERNAL
                log.exception("call_failed_unexpectedly", method=method)
                # The text of an unexpected error may hold anything; the caller gets the trace id to quote instead.
                if captures_text():
                    call.span.record_exception(error)
                else:
                    call.span.add_event("exception", {"exception.type": type(error).__qualname__})
                trace_id = current_trace_id()
                internal = CorellaError(f"Something went wrong here; quote trace {trace_id}.", trace_id=trace_id)
                await context.abort_with_status(internal.to_grpc_status())


def _checked(request: Any) -> Any:
    if isinstance(request, _Undecodable):
        raise InvalidArgument(f"The request is not a message of the expected type: {request.detail}", reason="REQUEST_UNDECODABLE")
    return request


async def _checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)


def _refusing(handler: Any, error: CorellaError) -> grpc.RpcMethodHandler:
    """A handler of the same kind that answers with the error and reads nothing."""
    status = error.to_grpc_status()

    async def refuse(_request: Any, context: grpc.aio.ServicerContext) -> Any:
        await context.abort_with_status(status)

    async def refuse_stream(_request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        await context.abort_with_status(status)
        yield  # makes this a generator, which is what a streaming handler must be

    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    behave = refuse_stream if handler.response_streaming else refuse
    # The request stays bytes: one that could not be decoded must not hide that the caller is unknown.
    return kinds[handler.request_streaming, handler.response_streaming](behave, None, None)
