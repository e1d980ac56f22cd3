"""Settings every service shares. Each service's `settings.py` derives from `ServiceSettings` and adds its own groups.

Values come from the environment, `CORELLA_<SERVICE>_…`, with `__` between a group and its field:
`CORELLA_EMBEDDER_SERVER__PORT=15051`. Unknown keys within a group are refused.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Group(BaseModel):
    """A group of settings: frozen, and closed against typing mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class TlsSettings(Group):
    """Transport encryption. Off while `certificate_file` is empty."""

    certificate_file: Path | None = Field(None, description="PEM certificate chain of this server.")
    key_file: Path | None = Field(None, description="PEM private key of this server.")
    client_ca_file: Path | None = Field(None, description="PEM certificates; when set, clients must show one signed by them.")

    @model_validator(mode="after")
    def _both_or_none(self) -> TlsSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: set both or none")
        return self


class AuthSettings(Group):
    """Who may call. Off while `tokens_file` is empty, which is allowed on loopback only."""

    tokens_file: Path | None = Field(None, description="One `name:sha256-of-token` a line, the hash in hexadecimal.")


class ServerSettings(Group):
    """How a service listens."""

    host: str = Field("127.0.0.1", description="Address to listen on. Anything but loopback needs authentication.")
    port: int = Field(description="TCP port; 0 takes a free one.", ge=0, le=65535)
    bind_seconds: float = Field(15.0, ge=0, description="How long to wait for the port when something else holds it.")
    max_deadline_seconds: float = Field(120.0, gt=0, description="A call without a deadline, or with a longer one, gets this.")
    drain_seconds: float = Field(20.0, ge=0, description="On SIGTERM, how long running calls may go on.")
    max_message_bytes: int = Field(16 * 2**20, gt=0, description="Largest message taken or sent.")
    max_concurrent_calls: int = Field(1024, gt=0, description="Calls beyond this are refused with RESOURCE_EXHAUSTED.")
    keepalive_seconds: float = Field(60.0, gt=0, description="How often an idle connection is tested.")
    tls: TlsSettings = TlsSettings()
    auth: AuthSettings = AuthSettings()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @model_validator(mode="after")
    def _open_to_others_only_with_authentication(self) -> ServerSettings:
        if not self.is_loopback and self.auth.tokens_file is None:
            raise ValueError(
                f"listening on {self.host} without authentication would let anyone in: set auth.tokens_file, or listen on 127.0.0.1"
            )
        return self


class ClientSettings(Group):
    """How another service is reached."""

    address: str = Field(description="`host:port`, or any gRPC target such as `dns:///retriever:15052`.")
    timeout_seconds: float = Field(30.0, gt=0, description="Longest a call may take; less when less of the caller's deadline is left.")
    ca_file: Path | None = Field(None, description="PEM certificates to trust; when set, the connection is encrypted.")
    certificate_file: Path | None = Field(None, description="PEM certificate to show (mutual TLS).")
    key_file: Path | None = Field(None, description="PEM private key of it.")
    token_file: Path | None = Field(None, description="File with the bearer token to send.")
    max_message_bytes: int = Field(64 * 2**20, gt=0, description="Largest message taken or sent.")


class TelemetrySettings(Group):
    """Traces, metrics and logs."""

    otlp_endpoint: str = Field("", description="OTLP/gRPC receiver, such as `http://127.0.0.1:4317`. Empty: nothing is exported.")
    sample_ratio: float = Field(1.0, ge=0, le=1, description="Share of traces kept.")
    metric_interval_seconds: float = Field(15.0, gt=0, description="How often metrics are exported.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least important level logged.")
    log_format: Literal["json", "console"] = Field("json", description="`json` for machines, `console` for a terminal.")
    capture_text: bool = Field(False, description="Let question, answer and document text into spans and logs.")


class ServiceSettings(BaseSettings):
    """What every service has. A service sets its prefix with `model_config = service_config("EMBEDDER")`."""

    server: ServerSettings
    telemetry: TelemetrySettings = TelemetrySettings()


def service_config(service: str) -> SettingsConfigDict:
    """Configuration of a settings class whose variables begin with `CORELLA_{service}_`."""
    return SettingsConfigDict(
        env_prefix=f"CORELLA_{service}_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        nested_model_default_partial_update=True,
    )
