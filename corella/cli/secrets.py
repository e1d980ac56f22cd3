"""`corella secrets`: the Secret of a deployment, made once, before it is installed. See docs/deploy.md."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets as random
from typing import Annotated, Any

import typer

_SERVICES = ("retriever", "generator", "trainer")
"""Those that call other services, each with a token of its own."""


def secrets(
    name: Annotated[str, typer.Argument(help="Name of the Secret, as `secrets.existingSecret` of the chart has it.")] = "corella-secrets",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the release. Default: kubectl's.")] = "",
) -> None:
    """Write a Kubernetes Secret with new tokens, keys and passwords, for `kubectl create -f -`.

    Everything is made anew each time: `create`, unlike `apply`, does not replace what a running deployment uses.
    """
    typer.echo(json.dumps(make_secret(name, namespace), indent=1))


def make_secret(name: str, namespace: str = "") -> dict[str, Any]:
    """The manifest. Tokens have 256 bits; services know all of them by their hashes only (`tokens`), and each holds its own."""
    tokens = {service: random.token_urlsafe(32) for service in _SERVICES}
    admin, milvus = random.token_urlsafe(32), random.token_hex(16)
    lines = [f"{service}:{_hash(token)} roles=service" for service, token in tokens.items()]
    lines.append(f"admin:{_hash(admin)} roles=admin reads=everything")
    metadata: dict[str, Any] = {"name": name, "labels": {"app.kubernetes.io/part-of": "corella"}}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "stringData": {
            "tokens": "\n".join(lines) + "\n",
            **{f"{service}-token": token for service, token in tokens.items()},
            "admin-token": admin,
            # A Fernet key: https://github.com/fernet/spec
            "conversation-keys": base64.urlsafe_b64encode(random.token_bytes(32)).decode() + "\n",
            # Parts of URLs, so letters and digits only.
            "redis-password": random.token_hex(24),
            "milvus-password": milvus,
            "milvus-token": f"root:{milvus}",
            "ray-token": random.token_hex(32),
        },
    }


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
