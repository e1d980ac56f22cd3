"""Certificates of this process, as they lie in files now: whole, belonging together, and not over.

Whoever issues them (cert-manager, a script) replaces the files; servers show the new certificate at the next handshake, clients begin their
next calls with it. gRPC itself asks for TLS 1.2 at least.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from weakref import WeakSet

import grpc
from opentelemetry.metrics import CallbackOptions, Observation

from services.chassis.settings import ClientSettings, TlsSettings
from services.chassis.telemetry import get_logger, meter
from services.chassis.watched_files import FilesRefused, WatchedFiles

log = get_logger(__name__)

WARN_SHARE, WARN_DAYS = 0.2, 7.0
"""A certificate is said to end soon in the last fifth of its life, at most a week: cert-manager renews when a third is left."""
_WARN_AGAIN_SECONDS = 3600.0

Side = Literal["server", "client"]


@dataclass(frozen=True)
class Certificates:
    """What a side shows and whom it trusts, all PEM."""

    certificate: bytes | None
    key: bytes | None
    authorities: bytes | None
    begins_at: float = 0.0
    ends_at: float | None = None
    """When the certificate begins and ends to be good, seconds since 1970."""


class CertificateFiles:
    """The certificates in some files, watched, with how long they are good as a metric."""

    def __init__(
        self, side: Side, certificate_file: Path | None, key_file: Path | None, ca_file: Path | None, *, check_seconds: float = 1.0
    ) -> None:
        """Raises `FilesRefused`."""
        self.side = side
        self._file = certificate_file
        self._warned_at: float | None = None
        paths = [path for path in (certificate_file, key_file, ca_file) if path is not None]
        self._files = WatchedFiles(paths, lambda: read_certificates(certificate_file, key_file, ca_file), check_seconds=check_seconds)
        _in_use.add(self)

    def current(self) -> Certificates:
        """The certificates; the same object as before unless they have changed. Never raises."""
        now = self._files.current()
        self._warn(now)
        return now

    def _warn(self, now: Certificates) -> None:
        if now.ends_at is None:
            return
        left = now.ends_at - time.time()
        if left > min((now.ends_at - now.begins_at) * WARN_SHARE, WARN_DAYS * 86_400):
            return
        if self._warned_at is None or time.monotonic() - self._warned_at > _WARN_AGAIN_SECONDS:
            self._warned_at = time.monotonic()
            log.warning("certificate_ends_soon", file=str(self._file), ends=_when(now.ends_at), hours_left=round(left / 3600, 1))


def read_certificates(certificate_file: Path | None, key_file: Path | None, ca_file: Path | None) -> Certificates:
    """Reads and checks. Raises `FilesRefused`."""
    # Imported here: it takes a moment, which processes without certificates need not spend.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    certificate, key, authorities = (_content(path) for path in (certificate_file, key_file, ca_file))
    if authorities is not None:
        _parsed(lambda: x509.load_pem_x509_certificates(authorities), ca_file, "PEM certificates")
    if certificate is None or key is None:
        return Certificates(None, None, authorities)
    first = _parsed(lambda: x509.load_pem_x509_certificates(certificate)[0], certificate_file, "PEM certificates")
    private = _parsed(lambda: load_pem_private_key(key, password=None), key_file, "a PEM private key without a password")
    if private.public_key() != first.public_key():
        raise FilesRefused(f"the key in {key_file} is not that of the certificate in {certificate_file}")
    begins, ends = first.not_valid_before_utc, first.not_valid_after_utc
    now = datetime.datetime.now(datetime.UTC)
    if now >= ends:
        raise FilesRefused(f"the certificate in {certificate_file} was good until {_when(ends.timestamp())}")
    if now < begins:
        raise FilesRefused(f"the certificate in {certificate_file} is good from {_when(begins.timestamp())} only; is the clock right?")
    return Certificates(certificate, key, authorities, begins.timestamp(), ends.timestamp())


def server_credentials(settings: TlsSettings) -> grpc.ServerCredentials:
    """What a server listens with. Raises `FilesRefused`. Every handshake uses what lies in the files then."""
    files = CertificateFiles("server", settings.certificate_file, settings.key_file, settings.client_ca_file)
    given = files.current()

    def changed() -> Any:
        # gRPC calls this at every handshake, from threads of its own.
        nonlocal given
        now = files.current()
        if now is given:
            return None
        given = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given), changed, require_client_authentication=settings.client_ca_file is not None
    )


def client_files(settings: ClientSettings) -> CertificateFiles:
    """The files a client is set up with. Raises `FilesRefused`."""
    return CertificateFiles("client", settings.certificate_file, settings.key_file, settings.ca_file)


def channel_credentials(certificates: Certificates) -> grpc.ChannelCredentials:
    """What a client connects with."""
    return grpc.ssl_channel_credentials(certificates.authorities, certificates.key, certificates.certificate)


def _configuration(now: Certificates) -> Any:
    return grpc.ssl_server_certificate_configuration([(now.key, now.certificate)], root_certificates=now.authorities)


def _content(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise FilesRefused(f"{path} cannot be read: {error.strerror}") from error


def _parsed(parse: Callable[[], Any], path: Path | None, what: str) -> Any:
    try:
        return parse()
    except (ValueError, TypeError) as error:
        raise FilesRefused(f"{path} does not hold {what}") from error


def _when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


_in_use: WeakSet[CertificateFiles] = WeakSet()


def _expiries(_options: CallbackOptions) -> Iterable[Observation]:
    """Of each side the certificate that ends first."""
    ends: dict[str, float] = {}
    for files in list(_in_use):
        if (end := files.current().ends_at) is not None:
            ends[files.side] = min(end, ends.get(files.side, end))
    return [Observation(end, {"corella.tls.side": side}) for side, end in ends.items()]


meter.create_observable_gauge(
    "corella.tls.certificate.expiry", [_expiries], unit="s", description="When the certificate in use ends, in seconds since 1970."
)
