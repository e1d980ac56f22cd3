"""Settings: from the environment, frozen, closed against typing mistakes, and never open to the world by accident."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.chassis.settings import ServerSettings, ServiceSettings, service_config


class Settings(ServiceSettings):
    """Settings of a service of the tests' own."""

    model_config = service_config("SAMPLE")
    server: ServerSettings = ServerSettings(port=50099)


def test_one_field_of_a_group_can_be_set_and_the_rest_keeps_its_default(monkeypatch):
    monkeypatch.setenv("CORELLA_SAMPLE_SERVER__DRAIN_SECONDS", "3")
    settings = Settings()
    assert settings.server.drain_seconds == 3
    assert settings.server.port == 50099


def test_an_unknown_key_in_a_group_is_refused(monkeypatch):
    monkeypatch.setenv("CORELLA_SAMPLE_SERVER__DRAIN_SECOND", "3")
    with pytest.raises(ValidationError, match="drain_second"):
        Settings()


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::", "corella.internal"])
def test_listening_beyond_loopback_needs_authentication(host):
    with pytest.raises(ValidationError, match="without authentication"):
        ServerSettings(host=host, port=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.3.2.1"])
def test_loopback_needs_none(host):
    assert ServerSettings(host=host, port=1).is_loopback


def test_a_key_without_its_certificate_is_refused():
    with pytest.raises(ValidationError, match="belong together"):
        ServerSettings(port=1, tls={"key_file": "key.pem"})


def test_an_error_says_which_setting_is_wrong_and_does_not_repeat_what_it_holds(monkeypatch):
    monkeypatch.setenv("CORELLA_SAMPLE_SERVER__PORT", "redis://:secret@host")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "server.port" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_settings_cannot_be_changed_later():
    with pytest.raises(ValidationError):
        Settings().server.port = 1
