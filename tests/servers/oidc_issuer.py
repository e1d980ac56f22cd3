"""An OpenID Connect issuer of our own: discovery, keys that rotate, tokens with any header and claims, and outages."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "corella"


class OidcIssuer:
    """Serves on loopback from its making until `close`. `away` makes it answer 503; `answer` replaces its set of keys."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.away = False
        self.answer: bytes | None = None
        self.redirect_to = ""
        self.asked: list[str] = []
        self.rotate("key-1")
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                content = issuer._content(self.path)
                self.send_response(302 if issuer.redirect_to else 503 if issuer.away else 404 if content is None else 200)
                if issuer.redirect_to:
                    self.send_header("location", issuer.redirect_to)
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.issuer = self.url

    def rotate(self, key_id: str, *, kind: str = "EC", keep: bool = False) -> None:
        """Signs with a new key from now on; `keep` leaves the old ones in the set."""
        key = rsa.generate_private_key(65537, 2048) if kind == "RSA" else ec.generate_private_key(ec.SECP256R1())
        self.keys = {**(self.keys if keep else {}), key_id: key}
        self.key_id = key_id

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims of a good token; a change to None takes one away."""
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": AUDIENCE, "sub": "ann", "iat": now, "nbf": now, "exp": now + 600, "tenant": "acme",
            "groups": ["hr", "eng"], "roles": ["reader"],
        } | changes  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, header: dict[str, Any] | None = None, key: Any = None, algorithm: str = "", **changes: Any) -> str:
        """A token, good unless told otherwise."""
        signing = key if key is not None else self.keys[self.key_id]
        algorithm = algorithm or ("RS256" if isinstance(signing, rsa.RSAPrivateKey) else "ES256")
        fields = {name: value for name, value in {"kid": self.key_id, **(header or {})}.items() if value is not None}
        return jwt.encode(self.claims(**changes), signing, algorithm, headers=fields)

    def public_pem(self) -> bytes:
        """The public key that is signed with now."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return bytes(self.keys[self.key_id].public_key().public_bytes(serialization.Encoding.PEM, form))

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _content(self, path: str) -> bytes | None:
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.issuer, "jwks_uri": f"{self.url}/keys"}).encode()
        if path == "/keys":
            return self.answer if self.answer is not None else json.dumps({"keys": [_jwk(i, k) for i, k in self.keys.items()]}).encode()
        return None


def _jwk(key_id: str, key: Any) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig"}
