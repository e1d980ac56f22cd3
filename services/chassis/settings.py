"""Settings every service shares. Each service's `settings.py` derives from `ServiceSettings` and adds its own groups.

Values come from the environment, `CORELLA_<SERVICE>_…`, with `__` between a group and its field:
`CORELLA_EMBEDDER_SERVER__PORT=15051`. Unknown keys within a group are refused.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.roles import Role


class Group(BaseModel):
    """A group of settings: frozen, and closed against typing mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class TlsSettings(Group):
    """Transport encryption, TLS 1.2 at least. Off while `certificate_file` is empty. Changed files hold from the next handshake on."""

    certificate_file: Path | None = Field(None, description="PEM certificate chain of this server.")
    key_file: Path | None = Field(None, description="PEM private key of this server.")
    client_ca_file: Path | None = Field(None, description="PEM certificates; when set, clients must show one signed by them.")

    @model_validator(mode="after")
    def _both_or_none(self) -> TlsSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: set both or none")
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ValueError("client_ca_file without certificate_file and key_file would leave the port open to all, unencrypted")
        return self


Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


def secure_url(url: str) -> bool:
    """Whether what is fetched there is what its owner sent: HTTPS, or HTTP on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine and nothing else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class OidcSettings(Group):
    """JSON Web Tokens of an OpenID Connect issuer. Off while `issuer` is empty. See docs/access.md."""

    issuer: str = Field("", description="The issuer's URL, exactly as its tokens have it in `iss`.")
    audience: str = Field("", description="What tokens for this deployment have in `aud`. Required with `issuer`.")
    jwks_url: str = Field("", description="Where the issuer's keys are. Empty: as its discovery document says.")
    algorithms: tuple[Algorithm, ...] = Field(("RS256", "ES256"), min_length=1, description="Ways of signing that are accepted.")
    clock_skew_seconds: float = Field(30.0, ge=0, le=300, description="By how much the clocks may differ.")
    tenant_claim: str = Field("tenant", description="Claim with the tenant; this and the next three may be dotted paths.")
    user_claim: str = Field("sub", description="Claim with the user, as documents' access lists name users. Example: `email`.")
    groups_claim: str = Field("groups", description="Claim with the groups, as documents' access lists name them. Empty: none.")
    roles_claim: str = Field("roles", description="Claim with the roles. Example: `realm_access.roles`. Empty: none.")
    default_tenant: str = Field("", description="Tenant of tokens that name none. Empty: such tokens are refused.")
    default_roles: tuple[Role, ...] = Field((), description="Roles of everyone with a valid token.")
    role_mapping: dict[str, Role] = Field(
        {}, description="Role for what the issuer calls it. What is not mapped counts by its own name; `service` only when mapped."
    )
    ca_file: Path | None = Field(None, description="PEM certificates to trust at the issuer. Empty: the system's.")
    refresh_seconds: float = Field(300.0, gt=0, description="How old the keys may be before they are fetched anew.")
    max_stale_seconds: float = Field(14_400.0, gt=0, description="How long they are used while the issuer cannot be reached.")
    unknown_key_seconds: float = Field(10.0, ge=0, description="Shortest time between two tries to fetch the keys.")
    timeout_seconds: float = Field(5.0, gt=0, description="Longest wait for the issuer.")
    max_token_bytes: int = Field(16_384, ge=256, le=65_536, description="Longest bearer token taken, in bytes.")
    max_groups: int = Field(500, ge=1, le=1_000, description="Most groups a token may name; one with more is refused.")

    @model_validator(mode="after")
    def _whole_and_secure(self) -> OidcSettings:
        if not self.issuer:
            return self
        if not self.audience:
            raise ValueError("with auth.oidc.issuer, auth.oidc.audience is required: else tokens for anybody would open this service")
        if not all(secure_url(url) for url in (self.issuer, self.jwks_url or self.issuer)):
            raise ValueError("auth.oidc.issuer and auth.oidc.jwks_url must be https:// URLs")
        if self.default_tenant and not re.fullmatch(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?", self.default_tenant):
            raise ValueError("auth.oidc.default_tenant must be 1 to 40 of a-z, 0-9 and `-`, a letter first")
        if self.max_stale_seconds < self.refresh_seconds:
            raise ValueError("auth.oidc.max_stale_seconds must not be less than auth.oidc.refresh_seconds")
        return self


class AuthSettings(Group):
    """Who may call. Both ways may be on at once. Off while neither is set, which is allowed on loopback only."""

    tokens_file: Path | None = Field(
        None, description="Services and scripts: `name:sha256-of-token` a line, the hash in hexadecimal; see chassis/tokens_file.py."
    )
    oidc: OidcSettings = OidcSettings()

    @property
    def enabled(self) -> bool:
        """Whether callers have to show who they are."""
        return self.tokens_file is not None or bool(self.oidc.issuer)


class ServerSettings(Group):
    """How a service listens."""

    host: str = Field("127.0.0.1", description="Address to listen on. Anything but loopback needs authentication.")
    port: int = Field(description="TCP port; 0 takes a free one.", ge=0, le=65535)
    health_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="TCP port that answers health checks only, without TLS, for probes that have no certificate. 0: none.",
    )
    bind_seconds: float = Field(15.0, ge=0, description="How long to wait for the port when something else holds it.")
    max_deadline_seconds: float = Field(120.0, gt=0, description="A call without a deadline, or with a longer one, gets this.")
    drain_delay_seconds: float = Field(
        0.0,
        ge=0,
        description="On SIGTERM, how long new calls are still served while `health_port` says NOT_SERVING: names are forgotten late.",
    )
    drain_seconds: float = Field(20.0, ge=0, description="Then, how long running calls may go on.")
    max_message_bytes: int = Field(16 * 2**20, gt=0, description="Largest message taken or sent.")
    max_concurrent_calls: int = Field(1024, gt=0, description="Calls beyond this are refused with RESOURCE_EXHAUSTED.")
    keepalive_seconds: float = Field(60.0, gt=0, description="How often an idle connection is tested.")
    max_connection_age_seconds: float = Field(
        300.0,
        ge=0,
        description="Clients connect anew after about this time, and so find replicas that are new. Calls under way are not cut. 0: never.",
    )
    tls: TlsSettings = TlsSettings()
    auth: AuthSettings = AuthSettings()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @model_validator(mode="after")
    def _open_to_others_only_with_authentication(self) -> ServerSettings:
        if not self.is_loopback and not self.auth.enabled:
            raise ValueError(
                f"listening on {self.host} without authentication would let anyone in: "
                "set auth.tokens_file or auth.oidc, or listen on 127.0.0.1"
            )
        if self.health_port and self.health_port == self.port:
            raise ValueError("health_port must be another one than port")
        return self


class ClientSettings(Group):
    """How another service is reached."""

    address: str = Field(description="`host:port`, or any gRPC target such as `dns:///retriever:15052`.")
    timeout_seconds: float = Field(30.0, gt=0, description="Longest a call may take; less when less of the caller's deadline is left.")
    ca_file: Path | None = Field(None, description="PEM certificates to trust; when set, the connection is encrypted.")
    certificate_file: Path | None = Field(None, description="PEM certificate chain to show (mutual TLS).")
    key_file: Path | None = Field(None, description="PEM private key of it.")
    server_name: str = Field("", description="Name the server's certificate must be for. Empty: the host in `address`.")
    token_file: Path | None = Field(None, description="File with the bearer token to send. Read again when it changes.")
    max_message_bytes: int = Field(64 * 2**20, gt=0, description="Largest message taken or sent.")

    @model_validator(mode="after")
    def _encrypted_when_meant_to_be(self) -> ClientSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: set both or none")
        if self.ca_file is None and (self.certificate_file is not None or self.server_name):
            raise ValueError("without ca_file the connection would not be encrypted: set it, or leave certificate_file and server_name out")
        return self


class TelemetrySettings(Group):
    """Traces, metrics and logs."""

    otlp_endpoint: str = Field("", description="OTLP/gRPC receiver, such as `http://127.0.0.1:4317`. Empty: nothing is exported.")
    sample_ratio: float = Field(1.0, ge=0, le=1, description="Share of traces kept; those with an error or a slow span are kept besides.")
    slow_seconds: float = Field(5.0, gt=0, description="A request that takes this long is kept whatever `sample_ratio` says.")
    metrics_port: int = Field(0, ge=0, le=65535, description="TCP port of the Prometheus endpoint `/metrics`. 0: none.")
    metrics_host: str = Field("127.0.0.1", description="Address of the Prometheus endpoint, which needs no authentication.")
    push_metrics: bool = Field(
        False,
        description="Export metrics to `otlp_endpoint` although there is a Prometheus endpoint. Without one they are always exported.",
    )
    metric_interval_seconds: float = Field(15.0, gt=0, description="How often metrics are exported to `otlp_endpoint`.")
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
        # What is wrong with a value is said, the value is not: it may be a password in a URL.
        hide_input_in_errors=True,
    )
