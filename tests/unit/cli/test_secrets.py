"""The Secret of a deployment: what is in it is what the services and the chart look for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from corella.cli.main import app
from corella.cli.secrets import make_secret
from services.chassis.tokens_file import TokensFile

EXAMPLES = Path(__file__).parents[3] / "deploy" / "helm" / "corella" / "examples"


def test_each_token_is_known_by_its_hash_with_the_role_it_needs(tmp_path: Path) -> None:
    keys = make_secret("corella-secrets")["stringData"]
    file = tmp_path / "tokens"
    file.write_text(keys["tokens"])
    known = TokensFile(file)
    for service in ("retriever", "generator", "trainer"):
        caller = known.find(keys[f"{service}-token"])
        assert caller is not None
        assert (caller.name, set(caller.roles), caller.reads_everything) == (service, {"service"}, False)
    admin = known.find(keys["admin-token"])
    assert admin is not None
    assert (set(admin.roles), admin.reads_everything) == ({"admin"}, True)
    assert not any(keys[name] in keys["tokens"] for name in keys if name.endswith("-token"))


def test_the_key_of_conversations_is_a_fernet_key() -> None:
    Fernet(make_secret("s")["stringData"]["conversation-keys"].strip())


def test_what_goes_into_a_url_needs_no_escaping() -> None:
    keys = make_secret("s")["stringData"]
    assert re.fullmatch("[0-9a-f]{48}", keys["redis-password"])
    assert keys["milvus-token"] == f"root:{keys['milvus-password']}"


def test_nothing_in_it_is_ever_the_same_twice() -> None:
    first, second = (make_secret("s")["stringData"] for _ in range(2))
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def test_the_command_writes_a_manifest_for_kubectl() -> None:
    result = CliRunner().invoke(app, ["secrets", "answers", "--namespace", "people"])
    assert result.exit_code == 0
    written = json.loads(result.stdout)
    assert (written["kind"], written["metadata"]["name"], written["metadata"]["namespace"]) == ("Secret", "answers", "people")


@pytest.mark.parametrize("profile", ["laptop", "one-gpu", "cluster"])
def test_every_key_a_profile_refers_to_is_in_it(profile: str) -> None:
    rendered = (EXAMPLES / profile / "rendered.yaml").read_text()
    asked = set(re.findall(r"\{key: ([a-z-]+), path: ", rendered)) | set(
        re.findall(r"secretKeyRef: \{name: corella-secrets, key: ([a-z-]+)\}", rendered)
    )
    assert "tokens" in asked
    # Where another Redis is used, only its owner knows where it is.
    assert asked - {"redis-url"} <= make_secret("s")["stringData"].keys()
