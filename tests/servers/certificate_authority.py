"""A certificate authority of the tests' own, and a folder of its certificates that is swapped as a kubelet swaps a mounted secret."""

from __future__ import annotations

import datetime
import ipaddress
import uuid
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate chain and its key, both PEM."""

    certificate: bytes
    key: bytes


class CertificateAuthority:
    """Signs certificates for names and addresses."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        now = datetime.datetime.now(datetime.UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=30))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate(self) -> bytes:
        """What to trust, PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, hours: float = 24.0) -> Pair:
        """A certificate for `names` that was good from a day ago and is for `hours` from now; for servers and clients both."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named(names[0]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(hours=hours))
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Pair(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        )


class MountedSecret:
    """`tls.crt`, `tls.key` and `ca.crt` as links through `..data` to a folder, which is replaced in one step: so the kubelet does it."""

    def __init__(self, folder: Path, pair: Pair, authority: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.certificate_file, self.key_file, self.ca_file = (folder / name for name in ("tls.crt", "tls.key", "ca.crt"))
        for file in (self.certificate_file, self.key_file, self.ca_file):
            file.symlink_to(Path("..data") / file.name)
        self.swap(pair, authority)

    def swap(self, pair: Pair, authority: bytes) -> None:
        """Replaces all three at once."""
        version = self._folder / f"..{uuid.uuid4().hex}"
        version.mkdir()
        for name, content in (("tls.crt", pair.certificate), ("tls.key", pair.key), ("ca.crt", authority)):
            (version / name).write_bytes(content)
        link = self._folder / "..data_tmp"
        link.symlink_to(version.name)
        link.rename(self._folder / "..data")


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
