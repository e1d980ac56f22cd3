"""Settings of the trainer, from `CORELLA_TRAINER_…`."""

from __future__ import annotations

from services.chassis.settings import ServerSettings, ServiceSettings, service_config


class TrainerSettings(ServiceSettings):
    """What the trainer needs to know."""

    model_config = service_config("TRAINER")

    server: ServerSettings = ServerSettings(port=50054)
