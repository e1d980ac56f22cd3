"""Calls Corella from Python: channels, deadline and token in one place, the generated stubs as attributes.

    from corella.client import Corella

    with Corella() as corella:
        answer = corella.ask("How long is the warranty of the Tolva 20?", corpus="default")
        print(answer.text, [citation.uri for citation in answer.citations])

Errors are gRPC's own; `corella.errors.RpcFailure.from_rpc_error` takes them apart.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import grpc

from corella.service_config import channel_options
from corella.v1 import (
    embedder_pb2_grpc,
    generator_pb2,
    generator_pb2_grpc,
    retriever_pb2_grpc,
    source_pb2_grpc,
    trainer_pb2_grpc,
)

DEFAULT_TIMEOUT_SECONDS = 60.0
_MAX_MESSAGE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Addresses:
    """Where the services listen, as `host:port` or any other gRPC target."""

    embedder: str = "127.0.0.1:15051"
    retriever: str = "127.0.0.1:15052"
    generator: str = "127.0.0.1:15053"
    trainer: str = "127.0.0.1:15054"

    def with_environment(self) -> Addresses:
        """These, with `CORELLA_EMBEDDER`, `CORELLA_RETRIEVER`, `CORELLA_GENERATOR` and `CORELLA_TRAINER` in their place where set."""
        given = {f.name: os.environ.get(f"CORELLA_{f.name.upper()}", "") for f in fields(self)}
        return replace(self, **{name: address for name, address in given.items() if address})


@dataclass(frozen=True)
class Acting:
    """For whom to call: somebody of `tenant`, as documents' access lists name users and groups.

    Believed of callers with the role `service`, and on a machine without authentication; refused otherwise.
    """

    user: str = ""
    groups: frozenset[str] = frozenset()
    tenant: str = "default"
    roles: frozenset[str] = frozenset({"reader", "writer", "trainer"})

    @staticmethod
    def of_environment() -> Acting | None:
        """Who `CORELLA_AS_USER`, `CORELLA_AS_GROUPS` (separated by commas) and `CORELLA_AS_TENANT` name; None where none is set."""
        user, groups, tenant = (os.environ.get(f"CORELLA_AS_{name}", "") for name in ("USER", "GROUPS", "TENANT"))
        return Acting.of(user, groups, tenant)

    @staticmethod
    def of(user: str, groups: str, tenant: str) -> Acting | None:
        """From text: `groups` separated by commas. None when all are empty."""
        if not (user or groups or tenant):
            return None
        return Acting(user, frozenset(each.strip() for each in groups.split(",") if each.strip()), tenant or "default")

    def metadata(self) -> tuple[str, bytes]:
        """What to send with a call."""
        fields = {"tenant": self.tenant, "user": self.user, "groups": sorted(self.groups), "roles": sorted(self.roles)}
        return "corella-caller-bin", json.dumps(fields, separators=(",", ":")).encode()


class EncryptionIncomplete(ValueError):
    """Files that do not go together: the connection would not be what it looks like."""


class CallObserver(Protocol):
    """Follows calls, such as to trace them."""

    def call_begins(self, method: str, address: str) -> tuple[Mapping[str, str], Callable[[Any], None]]:
        """What to send along with a call, and what takes it (a `grpc.Future`) as soon as it is under way."""
        ...


class Corella:
    """The four services. A channel is opened when its stub is first used. Safe to share between threads.

    In a program with OpenTelemetry a call belongs to the span it is made in.
    """

    def __init__(
        self,
        addresses: Addresses | None = None,
        *,
        token: str | None = None,
        ca_file: Path | None = None,
        certificate_file: Path | None = None,
        key_file: Path | None = None,
        server_name: str = "",
        acting: Acting | None = None,
        observer: CallObserver | None = None,
    ) -> None:
        """`token` is sent as bearer token with every call. With `ca_file`, a PEM file of certificates to trust, connections are encrypted.

        `certificate_file` and `key_file`, both PEM, are shown to servers that ask for a certificate. `server_name` is what a server's
        certificate must be for where that is not the host of the address, as with a port forwarded to this machine. Files are read now; a
        client that outlives them is made anew. Raises `OSError` for a file that cannot be read, `EncryptionIncomplete`.

        Without `addresses` those of the environment are used, else the local defaults. Without `acting` the environment is asked too, else
        the call is the token's owner's own.
        """
        self._acting = acting or Acting.of_environment()
        self.addresses = addresses or Addresses().with_environment()
        self._token = token
        self._observer = observer or _AmbientTrace()
        self._credentials = _credentials(ca_file, certificate_file, key_file, server_name)
        self._server_name = server_name
        self._channels: list[grpc.Channel] = []

    def __enter__(self) -> Corella:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every channel; calls under way are cancelled."""
        for channel in self._channels:
            channel.close()
        self._channels.clear()

    @cached_property
    def embedder(self) -> embedder_pb2_grpc.EmbedderServiceStub:
        """Stub of `EmbedderService`."""
        return embedder_pb2_grpc.EmbedderServiceStub(self.channel(self.addresses.embedder))

    @cached_property
    def retriever(self) -> retriever_pb2_grpc.RetrieverServiceStub:
        """Stub of `RetrieverService`."""
        return retriever_pb2_grpc.RetrieverServiceStub(self.channel(self.addresses.retriever))

    @cached_property
    def sources(self) -> source_pb2_grpc.SourceServiceStub:
        """Stub of `SourceService`, which the retriever answers for."""
        return source_pb2_grpc.SourceServiceStub(self.channel(self.addresses.retriever))

    @cached_property
    def generator(self) -> generator_pb2_grpc.GeneratorServiceStub:
        """Stub of `GeneratorService`."""
        return generator_pb2_grpc.GeneratorServiceStub(self.channel(self.addresses.generator))

    @cached_property
    def trainer(self) -> trainer_pb2_grpc.TrainerServiceStub:
        """Stub of `TrainerService`."""
        return trainer_pb2_grpc.TrainerServiceStub(self.channel(self.addresses.trainer))

    def ask(self, question: str, *, corpus: str = "default", timeout_seconds: float = 120.0) -> generator_pb2.Answer:
        """The answer to one question that stands alone, with its citations. `corpus` is an id or a resource name.

        For text as it comes, conversations, styles and filters call `generator.Ask`.
        """
        request = generator_pb2.AskRequest(question=question, corpus=corpus_name(corpus), skip_memory=True)
        answer = generator_pb2.Answer()
        for event in self.generator.Ask(request, timeout=timeout_seconds):
            if event.HasField("citations"):
                answer.CopyFrom(event.citations.answer)
        return answer

    def channel(self, address: str) -> grpc.Channel:
        """A new channel to a service, closed together with this client. Every call on it has a deadline and the token."""
        options: list[tuple[str, Any]] = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            *channel_options(),
        ]
        if self._server_name:
            options.append(("grpc.ssl_target_name_override", self._server_name))
        if self._credentials is None:
            bare = grpc.insecure_channel(address, options)
        else:
            bare = grpc.secure_channel(address, self._credentials, options)
        self._channels.append(bare)
        return grpc.intercept_channel(bare, _EveryCall(self._token, self._acting, self._observer, address))


def _credentials(
    ca_file: Path | None, certificate_file: Path | None, key_file: Path | None, server_name: str
) -> grpc.ChannelCredentials | None:
    if (certificate_file is None) != (key_file is None):
        raise EncryptionIncomplete("certificate_file and key_file belong together: give both or none")
    if ca_file is None:
        if certificate_file is not None or server_name:
            raise EncryptionIncomplete(
                "without ca_file connections are not encrypted, and nobody is shown a certificate or asked for a name"
            )
        return None
    files = (ca_file, key_file, certificate_file)
    return grpc.ssl_channel_credentials(*(file.read_bytes() if file is not None else None for file in files))


def corpus_name(corpus: str) -> str:
    """The resource name of a corpus given by its id or its name."""
    return corpus if corpus.startswith("corpora/") else f"corpora/{corpus}"


class _AmbientTrace:
    """Sends the trace context of the span a call is made in, where the program has OpenTelemetry; this package does not need it."""

    def call_begins(self, method: str, address: str) -> tuple[Mapping[str, str], Callable[[Any], None]]:
        sent: dict[str, str] = {}
        if "opentelemetry.trace" in sys.modules:
            from opentelemetry import propagate

            propagate.inject(sent)
        return sent, lambda _call: None


@dataclass(frozen=True)
class _Details:
    """What grpc calls `ClientCallDetails`, which it leaves to its users to make."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _EveryCall(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]
):
    """Gives every call the token, for whom it is and its trace, and a deadline where the caller set none."""

    def __init__(self, token: str | None, acting: Acting | None, observer: CallObserver, address: str) -> None:
        self._observer = observer
        self._address = address
        self._metadata: list[tuple[str, str | bytes]] = [("authorization", f"Bearer {token}")] if token else []
        if acting is not None:
            self._metadata.append(acting.metadata())

    def _call(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        sent, follow = self._observer.call_begins(method.removeprefix("/"), self._address)
        changed = _Details(
            method=details.method,
            timeout=DEFAULT_TIMEOUT_SECONDS if details.timeout is None else details.timeout,
            metadata=[*(details.metadata or ()), *self._metadata, *sent.items()],
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
            compression=details.compression,
        )
        call = continuation(changed, request)
        follow(call)
        return call

    intercept_unary_unary = _call
    intercept_unary_stream = _call
    intercept_stream_unary = _call
    intercept_stream_stream = _call
